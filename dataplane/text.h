/* Small work on bytes that handlers ask for: numbers in and out of decimal, comparison, search by table.
 * Pure functions; the compiled and the interpreted handlers share them. */
#pragma once

#include <stdint.h>

enum { TEXT_INT = 20 }; /* bytes that a signed 64-bit number needs at most */

/* Writes `number` in decimal so that it ends at out + TEXT_INT; returns how many bytes it took. */
int64_t text_of_int(uint8_t *out, int64_t number);
/* The number that 1 to 18 digits spell, or `otherwise`. */
int64_t text_to_int(const uint8_t *data, int64_t length, int64_t otherwise);
/* 1 if equal, ASCII letters compared without case. */
int64_t text_equal_fold(const uint8_t *left, const uint8_t *right, int64_t length);
/* Index of the first byte at or after `start` whose entry in `allowed` (256 bytes) is zero; length: none. */
int64_t text_span(const uint8_t *data, int64_t length, const uint8_t *allowed, int64_t start);
int64_t text_hash(const uint8_t *data, int64_t length); /* FNV-1a, 64 bits */

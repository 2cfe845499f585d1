/* Drives a fuzz target without libFuzzer: `standalone SEED RUNS` makes random inputs, `standalone FILE...` replays. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 2048 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int replay(const char *name) {
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(name, "rb");
    if (!file) {
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return LLVMFuzzerTestOneInput(bytes, size);
}

int main(int count, char **words) {
    char *end = "";
    uint64_t random = count == 3 ? strtoull(words[1], &end, 10) : 0;
    if (count != 3 || *end) {
        int failed = count < 2;
        for (int i = 1; i < count; i++) {
            failed |= replay(words[i]);
        }
        return failed;
    }
    static uint8_t bytes[LONGEST];
    random = random * 0x9e3779b97f4a7c15u + 1;
    for (long run = atol(words[2]); run > 0; run--) {
        size_t size = 0, wanted = (random >> 40) % LONGEST;
        while (size < wanted) {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            uint64_t word = random * 0x2545f4914f6cdd1du;
            size_t part = wanted - size < 8 ? wanted - size : 8;
            memcpy(bytes + size, &word, part);
            size += part;
        }
        LLVMFuzzerTestOneInput(bytes, size);
    }
    return 0;
}

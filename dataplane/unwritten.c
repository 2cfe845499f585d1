/* Weak stand-ins so that the module links while its parts are being written; each goes when its real one is there. */

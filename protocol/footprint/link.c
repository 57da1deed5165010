/* Drives the library as firmware would: powers a station on, records the events of ../vectors/link-v1.json and
 * hears the frames that it is given as arguments (hexadecimal). Prints, a line each: the sizes of a link, of its
 * station and of its log; each answer; the bytes of stack that hearing took at most.
 *
 * What it hears it hears on a stack of its own, painted before, so that what was used can be seen. */
#define _XOPEN_SOURCE 700
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct board {
    void (*random)(uint8_t bytes[32]);
    void (*open_door)(uint8_t door, uint16_t ms);
    _Bool (*keep)(_Bool is_all, uint8_t table, uint32_t generation, uint16_t page);
};
struct answer {
    const uint8_t *bytes;
    size_t length;
};
size_t postern_sizes(size_t *station, size_t *log);
void postern_begin(void *link, uint8_t address, uint32_t serial, const uint8_t key[32], const uint8_t epoch[16],
                   const struct board *board);
uint64_t postern_event(void *link, uint32_t at, uint8_t code, uint8_t reason, uint8_t place, uint64_t card);
struct answer postern_on_byte(void *link, uint8_t byte);

static _Alignas(16) uint8_t memory[8192];
static _Alignas(16) uint8_t stack[65536];
static struct answer answer;
static const char *frame;
static ucontext_t outside, inside;

/* The vectors' secret. Firmware asks its source of randomness. */
static void random_bytes(uint8_t bytes[32]) { memset(bytes, 0x51, 32); }
static void open_door(uint8_t door, uint16_t ms) { (void)door, (void)ms; }
static _Bool keep(_Bool is_all, uint8_t table, uint32_t generation, uint16_t page) {
    return (void)is_all, (void)table, (void)generation, (void)page, 1;
}

static uint8_t digit(char c) { return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10); }

static void hear(void) {
    for (const char *at = frame; at[0] && at[1]; at += 2)
        answer = postern_on_byte(memory, (uint8_t)(digit(at[0]) << 4 | digit(at[1])));
}

static size_t used(void) {
    size_t at = 0;
    while (at < sizeof stack && stack[at] == 0xa5) at++;
    return sizeof stack - at;
}

int main(int count, char **frames) {
    size_t station, log, link = postern_sizes(&station, &log);
    if (link > sizeof memory) return 1;
    printf("%zu %zu %zu\n", link, station, log);

    static const struct board board = {random_bytes, open_door, keep};
    uint8_t key[32], epoch[16];
    for (int i = 0; i < 32; i++) key[i] = (uint8_t)i;
    for (int i = 0; i < 16; i++) epoch[i] = (uint8_t)(0x11 * i);
    postern_begin(memory, 5, 70001, key, epoch, &board);
    postern_event(memory, 840000000, 1, 0, 0x42, 0x200000001);
    postern_event(memory, 840000000, 2, 9, 0x42, 0x200000002);
    postern_event(memory, 0, 12, 0, 0, 0);
    postern_event(memory, 840000000, 3, 0, 2, 0);
    if (postern_event(memory, 840000000, 200, 3, 0x42, UINT64_MAX) != 5) return 1;

    memset(stack, 0xa5, sizeof stack);
    for (int i = 1; i < count; i++) {
        frame = frames[i];
        getcontext(&inside);
        inside.uc_stack.ss_sp = stack;
        inside.uc_stack.ss_size = sizeof stack;
        inside.uc_link = &outside;
        makecontext(&inside, hear, 0);
        swapcontext(&outside, &inside);
        for (size_t at = 0; at < answer.length; at++) printf("%02x", answer.bytes[at]);
        printf("\n");
    }
    printf("%zu\n", used());
    return 0;
}

/* HighwayHash-256 for processors with AVX2: `hash256(key, data)`, both bytes, gives 32 bytes.
 *
 * The function of the HighwayHash paper (Alakuijala, Cox, Wassenberg 2016, arXiv:1612.06257), held against the package
 * `highwayhash` and MinIO's published sum by tests/test_bitrot.py. A state is four vectors of four 64-bit lanes. About
 * 12 GB/s; a block of 512 KiB takes 45 µs, so the interpreter's lock is kept: to get it back from busy threads takes longer.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define KEY_BYTES 32
#define HASH_BYTES 32
#define PACKET_BYTES 32
#define FINAL_ROUNDS 10
#define TWO_LANES_SWAPPED 0x4e /* lanes 2, 3, 0, 1 */
#define HALVES_SWAPPED 0xb1    /* the 32-bit halves of each lane */

typedef struct {
    __m256i v0, v1, mul0, mul1;
} State;

AVX2 static inline __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }

AVX2 static inline __m256i halves_swapped(__m256i words) { return _mm256_shuffle_epi32(words, HALVES_SWAPPED); }

AVX2 static State start(const uint8_t *key) {
    const __m256i mul0 = _mm256_setr_epi64x((long long)0xdbe6d5d5fe4cce2full, (long long)0xa4093822299f31d0ull,
                                            (long long)0x13198a2e03707344ull, (long long)0x243f6a8885a308d3ull);
    const __m256i mul1 = _mm256_setr_epi64x((long long)0x3bd39e10cb0ef593ull, (long long)0xc0acf169b5f18a8cull,
                                            (long long)0xbe5466cf34e90c6cull, (long long)0x452821e638d01377ull);
    const __m256i words = load(key);
    return (State){_mm256_xor_si256(mul0, words), _mm256_xor_si256(mul1, halves_swapped(words)), mul0, mul1};
}

/* Brings bytes that the multiplications filled well beside those that they did not. */
AVX2 static inline __m256i zipped(__m256i words) {
    const __m256i order = _mm256_setr_epi8(3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7,  //
                                           3, 12, 2, 5, 14, 1, 15, 0, 11, 4, 10, 13, 9, 6, 8, 7);
    return _mm256_shuffle_epi8(words, order);
}

AVX2 static inline void mix(State *state, __m256i packet) {
    state->v1 = _mm256_add_epi64(state->v1, _mm256_add_epi64(state->mul0, packet));
    state->mul0 = _mm256_xor_si256(state->mul0, _mm256_mul_epu32(state->v1, _mm256_srli_epi64(state->v0, 32)));
    state->v0 = _mm256_add_epi64(state->v0, state->mul1);
    state->mul1 = _mm256_xor_si256(state->mul1, _mm256_mul_epu32(state->v0, _mm256_srli_epi64(state->v1, 32)));
    state->v0 = _mm256_add_epi64(state->v0, zipped(state->v1));
    state->v1 = _mm256_add_epi64(state->v1, zipped(state->v0));
}

/* The last 1 to 31 bytes: their number goes into v0 and turns the halves of v1, they themselves into one more packet. */
AVX2 static void mix_rest(State *state, const uint8_t *rest, size_t size) {
    uint8_t packet[PACKET_BYTES] = {0};
    const size_t whole = size & ~(size_t)3, odd = size & 3;
    const __m256i turn = _mm256_set1_epi32((int)size);
    const __m256i back = _mm256_set1_epi32(32 - (int)size);
    state->v0 = _mm256_add_epi64(state->v0, turn);
    state->v1 = _mm256_or_si256(_mm256_sllv_epi32(state->v1, turn), _mm256_srlv_epi32(state->v1, back));
    memcpy(packet, rest, whole);
    if (size & 16) {
        memcpy(packet + 28, rest + size - 4, 4);
    } else if (odd) {
        packet[16] = rest[whole];
        packet[17] = rest[whole + (odd >> 1)];
        packet[18] = rest[size - 1];
    }
    mix(state, load(packet));
}

/* 256 bits modulo x^128 + x^2 + x, the two highest bits left out: 128 bits. */
static void reduce(uint64_t *to, const uint64_t *low, const uint64_t *high) {
    const uint64_t a3 = high[1] & 0x3fffffffffffffffull, a2 = high[0];
    to[0] = low[0] ^ a2 << 1 ^ a2 << 2;
    to[1] = low[1] ^ (a3 << 1 | a2 >> 63) ^ (a3 << 2 | a2 >> 62);
}

AVX2 static void hash(const uint8_t *key, const uint8_t *data, size_t size, uint64_t *sum) {
    const size_t rest = size % PACKET_BYTES;
    const uint8_t *end = data + size - rest;
    uint64_t low[4], high[4];
    State state = start(key);
    for (; data < end; data += PACKET_BYTES) mix(&state, load(data));
    if (rest) mix_rest(&state, data, rest);
    for (int round = 0; round < FINAL_ROUNDS; round++)
        mix(&state, halves_swapped(_mm256_permute4x64_epi64(state.v0, TWO_LANES_SWAPPED)));
    _mm256_storeu_si256((__m256i *)low, _mm256_add_epi64(state.v0, state.mul0));
    _mm256_storeu_si256((__m256i *)high, _mm256_add_epi64(state.v1, state.mul1));
    reduce(sum, low, high);
    reduce(sum + 2, low + 2, high + 2);
}

static PyObject *hash256(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    uint64_t sum[HASH_BYTES / sizeof(uint64_t)];
    if (count != 2 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "hash256 takes a key and data, both bytes");
        return NULL;
    }
    if (PyBytes_GET_SIZE(args[0]) != KEY_BYTES) {
        PyErr_Format(PyExc_ValueError, "a key has %d bytes, not %zd", KEY_BYTES, PyBytes_GET_SIZE(args[0]));
        return NULL;
    }
    hash((const uint8_t *)PyBytes_AS_STRING(args[0]), (const uint8_t *)PyBytes_AS_STRING(args[1]),
         (size_t)PyBytes_GET_SIZE(args[1]), sum);
    return PyBytes_FromStringAndSize((const char *)sum, HASH_BYTES);
}

static PyMethodDef FUNCTIONS[] = {
    {"hash256", (PyCFunction)(void (*)(void))hash256, METH_FASTCALL, "hash256(key, data): HighwayHash-256, 32 bytes."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_highway", "HighwayHash-256 with AVX2.", -1, FUNCTIONS, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__highway(void) {
    if (!__builtin_cpu_supports("avx2")) {
        PyErr_SetString(PyExc_ImportError, "this processor has no AVX2");
        return NULL;
    }
    return PyModule_Create(&MODULE);
}

/* HighwayHash-256 for processors with AVX2: `hash256_each(keys, pieces)`, lists of bytes, gives a list of 32 bytes each.
 *
 * The function of the HighwayHash paper (Alakuijala, Cox, Wassenberg 2016, arXiv:1612.06257), held against the package
 * `highwayhash` and MinIO's published sum by tests/test_bitrot.py. A state is four vectors of four 64-bit lanes. One alone
 * waits for its own multiplications, 10 GB/s; so up to four go on together, 19, 26 and 23 GB/s of two, three and four. A
 * block of 512 KiB takes 50 µs, so the interpreter's lock is kept: to get it back from busy threads takes longer.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#ifdef __clang__
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("GCC unroll 4")
#endif
#define KEY_BYTES 32
#define HASH_BYTES 32
#define PACKET_BYTES 32
#define FINAL_ROUNDS 10
#define TOGETHER_MAX 4 /* more states than this do not fit into the registers */
#define TWO_LANES_SWAPPED 0x4e /* lanes 2, 3, 0, 1 */
#define HALVES_SWAPPED 0xb1    /* the 32-bit halves of each lane */

typedef struct {
    __m256i v0, v1, mul0, mul1;
} State;

typedef struct {
    const uint8_t *data;
    size_t size;
} Piece;

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

/* What is left of a piece, and the sum of it all. */
AVX2 static void finish(State state, Piece piece, uint64_t *sum) {
    uint64_t low[4], high[4];
    for (; piece.size >= PACKET_BYTES; piece.size -= PACKET_BYTES, piece.data += PACKET_BYTES)
        mix(&state, load(piece.data));
    if (piece.size) mix_rest(&state, piece.data, piece.size);
    for (int round = 0; round < FINAL_ROUNDS; round++)
        mix(&state, halves_swapped(_mm256_permute4x64_epi64(state.v0, TWO_LANES_SWAPPED)));
    _mm256_storeu_si256((__m256i *)low, _mm256_add_epi64(state.v0, state.mul0));
    _mm256_storeu_si256((__m256i *)high, _mm256_add_epi64(state.v1, state.mul1));
    reduce(sum, low, high);
    reduce(sum + 2, low + 2, high + 2);
}

/* As many packets of every piece as the shortest has. `count` is a constant where this is called, so that the loops over
 * it are unrolled and all states stay in registers. */
AVX2 static inline __attribute__((always_inline)) void mix_together(int count, State *states, Piece *pieces) {
    State mixed[TOGETHER_MAX];
    size_t shortest = pieces[0].size;
    for (int i = 1; i < count; i++)
        if (pieces[i].size < shortest) shortest = pieces[i].size;
    const size_t whole = shortest - shortest % PACKET_BYTES;
    for (int i = 0; i < count; i++) mixed[i] = states[i];
    for (size_t at = 0; at < whole; at += PACKET_BYTES) {
        UNROLLED for (int i = 0; i < count; i++) mix(&mixed[i], load(pieces[i].data + at));
    }
    for (int i = 0; i < count; i++) {
        states[i] = mixed[i];
        pieces[i].data += whole;
        pieces[i].size -= whole;
    }
}

AVX2 static void hash_together(int count, const uint8_t *const *keys, Piece *pieces, uint64_t (*sums)[4]) {
    State states[TOGETHER_MAX];
    for (int i = 0; i < count; i++) states[i] = start(keys[i]);
    switch (count) {
    case 2: mix_together(2, states, pieces); break;
    case 3: mix_together(3, states, pieces); break;
    case 4: mix_together(4, states, pieces); break;
    }
    for (int i = 0; i < count; i++) finish(states[i], pieces[i], sums[i]);
}

/* 0, or -1 with an error set. */
static int take_bytes(PyObject *key, PyObject *data, const uint8_t **key_bytes, Piece *piece) {
    if (!PyBytes_Check(key) || !PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "keys and pieces are bytes");
        return -1;
    }
    if (PyBytes_GET_SIZE(key) != KEY_BYTES) {
        PyErr_Format(PyExc_ValueError, "a key has %d bytes, not %zd", KEY_BYTES, PyBytes_GET_SIZE(key));
        return -1;
    }
    *key_bytes = (const uint8_t *)PyBytes_AS_STRING(key);
    *piece = (Piece){(const uint8_t *)PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data)};
    return 0;
}

static PyObject *hash256_each(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t arg_count) {
    if (arg_count != 2 || !PyList_Check(args[0]) || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "hash256_each takes a list of keys and a list of pieces");
        return NULL;
    }
    const Py_ssize_t count = PyList_GET_SIZE(args[0]);
    if (PyList_GET_SIZE(args[1]) != count) {
        PyErr_Format(PyExc_ValueError, "%zd keys for %zd pieces", count, PyList_GET_SIZE(args[1]));
        return NULL;
    }
    PyObject *found = PyList_New(count);
    for (Py_ssize_t first = 0; found && first < count; first += TOGETHER_MAX) {
        const uint8_t *keys[TOGETHER_MAX];
        Piece pieces[TOGETHER_MAX];
        uint64_t sums[TOGETHER_MAX][HASH_BYTES / sizeof(uint64_t)];
        const int together = count - first < TOGETHER_MAX ? (int)(count - first) : TOGETHER_MAX;
        for (int i = 0; i < together; i++) {
            PyObject *key = PyList_GET_ITEM(args[0], first + i), *data = PyList_GET_ITEM(args[1], first + i);
            if (take_bytes(key, data, &keys[i], &pieces[i]) < 0) {
                Py_DECREF(found);
                return NULL;
            }
        }
        hash_together(together, keys, pieces, sums);
        for (int i = 0; i < together; i++) {
            PyObject *sum = PyBytes_FromStringAndSize((const char *)sums[i], HASH_BYTES);
            if (!sum) {
                Py_DECREF(found);
                return NULL;
            }
            PyList_SET_ITEM(found, first + i, sum);
        }
    }
    return found;
}

static PyMethodDef FUNCTIONS[] = {
    {"hash256_each", (PyCFunction)(void (*)(void))hash256_each, METH_FASTCALL,
     "hash256_each(keys, pieces): HighwayHash-256 of each piece under its own key, 32 bytes each."},
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

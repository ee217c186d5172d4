// Eight float lanes through the compilers' vector extensions: the same source for SSE2, AVX2, AVX-512 and NEON.
// Included inside each build's own namespace; every function is static and inlined.
#pragma once

typedef float Vec __attribute__((vector_size(32)));
typedef int32_t Mask __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) Vec splat(float x) { return Vec{x, x, x, x, x, x, x, x}; }
static inline __attribute__((always_inline)) Vec lanes() { return Vec{0, 1, 2, 3, 4, 5, 6, 7}; }

static inline __attribute__((always_inline)) Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
static inline __attribute__((always_inline)) void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof(v)); }
static inline __attribute__((always_inline)) void add(float* p, Vec v) { store(p, load(p) + v); }

static inline __attribute__((always_inline)) Vec keep(Mask m, Vec v) { return (Vec)((Mask)v & m); }
static inline __attribute__((always_inline)) Vec choose(Mask m, Vec yes, Vec no) {
  return (Vec)(((Mask)yes & m) | ((Mask)no & ~m));
}
static inline __attribute__((always_inline)) Vec max(Vec a, Vec b) { return choose(a > b, a, b); }
static inline __attribute__((always_inline)) Vec min(Vec a, Vec b) { return choose(a < b, a, b); }

static inline __attribute__((always_inline)) bool any(Mask m) {
  typedef int64_t Wide __attribute__((vector_size(32)));
  Wide w = (Wide)m;
  return (w[0] | w[1] | w[2] | w[3]) != 0;
}
static inline __attribute__((always_inline)) double sum(Vec v) {
  return ((double)v[0] + v[1]) + ((double)v[2] + v[3]) + (((double)v[4] + v[5]) + ((double)v[6] + v[7]));
}

// The exact square root, lane by lane where the target has no vector form.
static inline __attribute__((always_inline)) Vec square_root(Vec v) {
  Vec r;
  for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(v[i]);
  return r;
}

// e^x on [-5.6, 0]: a minimax polynomial of x / 8, squared three times; relative error below 1e-6.
static inline __attribute__((always_inline)) Vec exp_negative(Vec x) {
  Vec y = x * splat(0.125f);
  Vec p = splat(5.885254738e-3f);
  p = p * y + splat(3.984831241e-2f);
  p = p * y + splat(1.660284060e-1f);
  p = p * y + splat(4.998997788e-1f);
  p = p * y + splat(9.999947626e-1f);
  p = p * y + splat(1.0f);
  p = p * p;
  p = p * p;
  return p * p;
}

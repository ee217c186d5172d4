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
// Comparisons for the inner loops. Where registers hold four floats, GCC compares eight lanes one by one (up to
// GCC 12 at least), which makes the loops four times slower; halves stay vectors.
typedef float Half __attribute__((vector_size(16)));
typedef int32_t HalfMask __attribute__((vector_size(16)));
#if defined(__AVX__)
static inline __attribute__((always_inline)) Mask greater(Vec a, Vec b) { return a > b; }
static inline __attribute__((always_inline)) Mask at_least(Vec a, Vec b) { return a >= b; }
#else
static inline __attribute__((always_inline)) void halves(Vec v, Half* h) { __builtin_memcpy(h, &v, sizeof(v)); }
static inline __attribute__((always_inline)) Mask joined(HalfMask low, HalfMask high) {
  Mask m;
  __builtin_memcpy(&m, &low, sizeof(low));
  __builtin_memcpy((char*)&m + sizeof(low), &high, sizeof(high));
  return m;
}
static inline __attribute__((always_inline)) Mask greater(Vec a, Vec b) {
  Half x[2], y[2];
  halves(a, x), halves(b, y);
  return joined(x[0] > y[0], x[1] > y[1]);
}
static inline __attribute__((always_inline)) Mask at_least(Vec a, Vec b) {
  Half x[2], y[2];
  halves(a, x), halves(b, y);
  return joined(x[0] >= y[0], x[1] >= y[1]);
}
#endif
static inline __attribute__((always_inline)) Vec max(Vec a, Vec b) { return choose(greater(a, b), a, b); }
static inline __attribute__((always_inline)) Vec min(Vec a, Vec b) { return choose(greater(b, a), a, b); }

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

/* What this processor can do, asked at run time; and the attributes that let one function use it. */
#ifndef QNN_CPU_H
#define QNN_CPU_H

#include <stdint.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/* Code for AVX2 is compiled function by function; the rest of the file stays at the machine's baseline. */
#define QNN_X86 1
#define QNN_AVX2 __attribute__((target("avx2")))
#define QNN_AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))
#include <cpuid.h>
#else
#define QNN_X86 0
#endif

/* Compilers that know the instructions; QNN_NO_AVX512 and QNN_NO_AMX leave them out (an assembler that is too old).
   QNN_EMULATE: plain C in their place, on any machine (qnn_vector512.h, qnn_tile.h, qnn_intrinsics512.h). */
#if defined(__clang__)
#define QNN_COMPILER_AGE(gcc, clang) (__clang_major__ >= (clang))
#elif defined(__GNUC__)
#define QNN_COMPILER_AGE(gcc, clang) (__GNUC__ >= (gcc))
#else
#define QNN_COMPILER_AGE(gcc, clang) 0
#endif
/* For a branch so rare that it should take neither registers nor cache lines from a loop. */
#if QNN_COMPILER_AGE(9, 11)
#define QNN_RARELY(holds) __builtin_expect_with_probability((holds) != 0, 0, 1.0)
#else
#define QNN_RARELY(holds) ((holds) != 0)
#endif
#if defined(QNN_EMULATE)
#define QNN_EMULATED 1
#define QNN_HAS_VNNI 1
#define QNN_HAS_AMX 1
/* A function of its own: inlined into every kernel it would take the compiler minutes under the sanitizers. */
#define QNN_EMULATED_STEP static __attribute__((noinline, unused))
#define QNN_AVX512
#define QNN_AVX512_INLINE static inline
#define QNN_AVX512_VBMI
#define QNN_AVX512_VBMI_INLINE static inline
#define QNN_AVX512_BITS
#define QNN_AMX
#else
#define QNN_EMULATED 0
#define QNN_AVX512_TARGET "avx2,popcnt,prfchw,avx512f,avx512bw,avx512vl,avx512vnni"
#define QNN_AVX512 __attribute__((target(QNN_AVX512_TARGET)))
#define QNN_AVX512_INLINE static inline __attribute__((always_inline, target(QNN_AVX512_TARGET)))
#define QNN_AVX512_VBMI __attribute__((target(QNN_AVX512_TARGET ",avx512vbmi")))
#define QNN_AVX512_VBMI_INLINE static inline __attribute__((always_inline)) QNN_AVX512_VBMI
#define QNN_AVX512_BITS __attribute__((target(QNN_AVX512_TARGET ",avx512vpopcntdq")))
#define QNN_AMX __attribute__((target(QNN_AVX512_TARGET ",amx-tile,amx-int8")))
#if QNN_X86 && QNN_COMPILER_AGE(8, 7) && !defined(QNN_NO_AVX512)
#define QNN_HAS_VNNI 1
#else
#define QNN_HAS_VNNI 0
#endif
#if QNN_HAS_VNNI && QNN_COMPILER_AGE(11, 12) && defined(__linux__) && !defined(QNN_NO_AMX)
#define QNN_HAS_AMX 1
#else
#define QNN_HAS_AMX 0
#endif
#endif

/* Elementwise steps in 512 bits. They leave some cases to those of AVX2, so only x86 emulates them. */
#define QNN_HAS_LANES512 (QNN_HAS_VNNI && QNN_X86)

typedef struct {
    int avx2, fma, avx512f, avx512bw, avx512vl, avx512vnni, avx512vbmi, avx512vpopcntdq, amx_tile, amx_int8;
} qnn_cpu;

/* Processor bits of what the compiler's own test may not know, and the operating system's promise (XCR0) to save the
   registers: 5, 6, 7 are the parts of AVX512's, 17 and 18 those of the tiles. */
static inline qnn_cpu qnn_cpu_features(void)
{
    qnn_cpu cpu = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
#if QNN_X86
    unsigned a, b, c, d, saved = 0, high;
    __builtin_cpu_init();
    cpu.avx2 = !!__builtin_cpu_supports("avx2");
    cpu.fma = !!__builtin_cpu_supports("fma");
    if (__get_cpuid(1, &a, &b, &c, &d) && (c >> 27 & 1))
        __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return cpu;
    int vectors = (saved & 0xE6) == 0xE6, tiles = (saved & 0x60000) == 0x60000;
    cpu.avx512f = vectors && (b >> 16 & 1);
    cpu.avx512bw = vectors && (b >> 30 & 1);
    cpu.avx512vl = vectors && (b >> 31 & 1);
    cpu.avx512vnni = vectors && (c >> 11 & 1);
    cpu.avx512vbmi = vectors && (c >> 1 & 1);
    cpu.avx512vpopcntdq = vectors && (c >> 14 & 1);
    cpu.amx_tile = tiles && (d >> 24 & 1);
    cpu.amx_int8 = tiles && (d >> 25 & 1);
#endif
    return cpu;
}

static inline int qnn_cpu_has_avx2(void) { return qnn_cpu_features().avx2; }

/* Whether code for the two paths is there and the processor has what it uses. AMX needs the kernel's permission too. */
static inline int qnn_cpu_has_vnni(void)
{
#if defined(QNN_EMULATE)
    return 1;
#else
    qnn_cpu cpu = qnn_cpu_features();
    return QNN_HAS_VNNI && cpu.avx2 && cpu.avx512f && cpu.avx512bw && cpu.avx512vl && cpu.avx512vnni;
#endif
}

static inline int qnn_cpu_has_lanes512(void) { return QNN_HAS_LANES512 && qnn_cpu_has_vnni(); }

/* Tables of bytes on the path avx512vnni. */
static inline int qnn_cpu_has_vbmi(void)
{
    return qnn_cpu_has_lanes512() && (QNN_EMULATED || qnn_cpu_features().avx512vbmi);
}

/* Products of bits on the path avx512vnni. */
static inline int qnn_cpu_has_vpopcnt(void)
{
#if defined(QNN_EMULATE)
    return 1;
#else
    return qnn_cpu_has_vnni() && qnn_cpu_features().avx512vpopcntdq;
#endif
}

static inline int qnn_cpu_has_amx(void)
{
#if defined(QNN_EMULATE)
    return 1;
#else
    qnn_cpu cpu = qnn_cpu_features();
    return QNN_HAS_AMX && qnn_cpu_has_vnni() && cpu.amx_tile && cpu.amx_int8;
#endif
}

/* The compiler that built this, for qnn.show_runtime(). */
#if defined(__clang__)
#define QNN_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define QNN_COMPILER "gcc " __VERSION__
#elif defined(_MSC_VER)
#define QNN_COMPILER "msvc"
#else
#define QNN_COMPILER "unknown C compiler"
#endif

#endif

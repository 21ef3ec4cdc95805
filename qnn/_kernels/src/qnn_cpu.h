/* What this processor can do, asked at run time; and the attribute that lets one function use it. */
#ifndef QNN_CPU_H
#define QNN_CPU_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/* Code for AVX2 is compiled function by function; the rest of the file stays at the machine's baseline. */
#define QNN_X86 1
#define QNN_AVX2 __attribute__((target("avx2")))
#define QNN_AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))
#else
#define QNN_X86 0
#endif

typedef struct {
    int avx2, fma, avx512f, avx512bw, avx512vnni;
} qnn_cpu;

/* The compiler's own test also asks whether the operating system saves the wide registers. */
static inline qnn_cpu qnn_cpu_features(void)
{
    qnn_cpu cpu = {0, 0, 0, 0, 0};
#if QNN_X86
    __builtin_cpu_init();
    cpu.avx2 = !!__builtin_cpu_supports("avx2");
    cpu.fma = !!__builtin_cpu_supports("fma");
    cpu.avx512f = !!__builtin_cpu_supports("avx512f");
    cpu.avx512bw = !!__builtin_cpu_supports("avx512bw");
    cpu.avx512vnni = !!__builtin_cpu_supports("avx512vnni");
#endif
    return cpu;
}

static inline int qnn_cpu_has_avx2(void) { return qnn_cpu_features().avx2; }

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

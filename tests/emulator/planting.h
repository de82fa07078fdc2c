// The frame of the planted bugs. Every bug is a kernel that exists twice, once sound and once with one mistake.
// `program --list` names the bugs, `program planted NAME` prints what noticed a bug, or "unnoticed", and `program
// sound` must print nothing.
#pragma once
#include <cstdlib>
#include <memory>

#include "testing.h"

namespace planting {

constexpr int kThreads = 128;

struct Bug {
    const char* name;
    void (*planted)();
    void (*sound)();
};

inline std::vector<Bug>& bugs() {
    static std::vector<Bug> all;
    return all;
}

inline bool add(const char* name, void (*planted)(), void (*sound)()) {
    bugs().push_back({name, planted, sound});
    return true;
}

// Every kernel runs as one block of 128 threads and must set out[i] = in[127 - i]; in[i] is i + 1.
using Kernel = void(float* out, const float* in);

struct Free {
    void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, Free>;
// The buffer is exactly as long as needed, so that AddressSanitizer sees the first element beyond it.
inline Buffer buffer(size_t n) { return Buffer(static_cast<float*>(std::aligned_alloc(128, n * sizeof(float)))); }

inline void expect_reversed(const float* out) {
    for (int i = 0; i < kThreads; ++i) {
        testing::expect_equal(out[i], static_cast<float>(kThreads - i), "wrong result: out[" + std::to_string(i) + "]");
    }
}

template <Kernel* kernel, size_t SharedBytes>
void run() {
    const Buffer in = buffer(kThreads), out = buffer(kThreads);
    for (int i = 0; i < kThreads; ++i) in.get()[i] = static_cast<float>(i + 1), out.get()[i] = NAN;
    convgpu::launch(kernel, {dim3(1), dim3(kThreads), SharedBytes}, nullptr, out.get(), in.get());
    expect_reversed(out.get());
}

#define BUG(KERNEL, SHARED)            \
    static const bool KERNEL##_added = \
        ::planting::add(#KERNEL, ::planting::run<KERNEL<true>, SHARED>, ::planting::run<KERNEL<false>, SHARED>)

inline int run_bugs(int argc, char** argv) {
    const std::string verb = argc > 1 ? argv[1] : "";
    for (const Bug& b : bugs()) {
        if (verb == "--list") std::printf("%s\n", b.name);
        if (verb == "sound") {
            std::printf("%s\n", b.name);
            std::fflush(stdout);
            b.sound();
        }
        if (verb != "planted" || argc < 3 || std::strcmp(argv[2], b.name) != 0) continue;
        try {
            b.planted();
        } catch (const std::exception& e) {
            std::printf("noticed: %s\n", e.what());
            return 1;
        }
        std::printf("unnoticed\n");
    }
    return 0;
}

}  // namespace planting

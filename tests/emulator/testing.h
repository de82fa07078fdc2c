// A minimal test frame: `program` runs every test, `program NAME...` those named, `program --list` names them.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../csrc/device/launch.h"

namespace testing {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline bool add(const char* name, void (*run)()) {
    tests().push_back({name, run});
    return true;
}

#define TEST(NAME)                                                \
    static void NAME();                                           \
    static const bool NAME##_added = ::testing::add(#NAME, NAME); \
    static void NAME()

template <class A, class B>
void expect_equal(const A& got, const B& expected, const std::string& what) {
    if (got == expected) return;
    std::ostringstream text;
    text << what << ": expected " << expected << ", got " << got;
    throw std::runtime_error(text.str());
}

inline void expect(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

// Runs f, which must throw an error whose text contains `part`.
template <class F>
void expect_error(F&& f, const std::string& part) {
    try {
        f();
    } catch (const std::exception& e) {
        expect(std::string(e.what()).find(part) != std::string::npos,
               "expected an error with \"" + part + "\", got: " + e.what());
        return;
    }
    throw std::runtime_error("expected an error with \"" + part + "\", and there was none");
}

template <class T>
std::vector<T> random_values(size_t n, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<T> values(n);
    for (T& v : values) v = T(uniform(generator));
    return values;
}

// Whole numbers of at most 8: products and sums of a few thousand of them are exact in float32 and on tensor cores.
template <class T>
std::vector<T> random_integers(size_t n, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<T> values(n);
    for (T& v : values) v = T(static_cast<float>(static_cast<int>(generator() % 17) - 8));
    return values;
}

inline int run_tests(int argc, char** argv) {
    int failures = 0, found = 0;
    for (const Test& t : tests()) {
        if (argc > 1 && std::strcmp(argv[1], "--list") == 0) {
            std::printf("%s\n", t.name);
            continue;
        }
        bool wanted = argc == 1;
        for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], t.name) == 0;
        if (!wanted) continue;
        ++found;
        try {
            t.run();
            std::printf("ok %s\n", t.name);
        } catch (const std::exception& e) {
            std::printf("FAILED %s: %s\n", t.name, e.what());
            ++failures;
        }
        std::fflush(stdout);
    }
    return failures > 0 || (found == 0 && !(argc > 1 && std::strcmp(argv[1], "--list") == 0));
}

}  // namespace testing

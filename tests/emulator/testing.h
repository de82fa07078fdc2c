// A minimal frame for tests. `program` runs every test, and `program NAME...` runs those named, or all of a file
// test_NAME.cpp. `program --list` names the tests.
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
    const char* file;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline bool add(const char* name, const char* file, void (*run)()) {
    tests().push_back({name, file, run});
    return true;
}

inline bool is_named(const Test& test, const std::string& name) {
    const std::string file = test.file;
    return name == test.name || file.substr(file.rfind('/') + 1) == "test_" + name + ".cpp";
}

// Counts the problems that a test has run.
inline int& runs() {
    static int count = 0;
    return count;
}

#define TEST(NAME)                                                          \
    static void NAME();                                                     \
    static const bool NAME##_added = ::testing::add(#NAME, __FILE__, NAME); \
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

// Returns whole numbers of at most 8. Products and sums of a few thousand of them are exact in float32 and on tensor
// cores.
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
        for (int i = 1; i < argc; ++i) wanted = wanted || is_named(t, argv[i]);
        if (!wanted) continue;
        ++found;
        runs() = 0;
        try {
            t.run();
            std::printf("ok %s", t.name);
            if (runs() > 0) std::printf(", %d runs", runs());
            std::printf("\n");
        } catch (const std::exception& e) {
            std::printf("FAILED %s: %s\n", t.name, e.what());
            ++failures;
        }
        std::fflush(stdout);
    }
    return failures > 0 || (found == 0 && !(argc > 1 && std::strcmp(argv[1], "--list") == 0));
}

}  // namespace testing

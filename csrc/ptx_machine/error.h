// What can go wrong before a kernel runs: text that is no PTX, an instruction that the machine does not know, a launch
// that no GPU would take. Python sees a ValueError.
#pragma once
#include <cstdarg>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace convgpu::ptx {

struct Error : std::invalid_argument {
    using std::invalid_argument::invalid_argument;
};

[[gnu::format(printf, 1, 2)]] inline std::string format(const char* text, ...) {
    va_list arguments, again;
    va_start(arguments, text);
    va_copy(again, arguments);
    std::string made(static_cast<size_t>(vsnprintf(nullptr, 0, text, arguments)), ' ');
    vsnprintf(made.data(), made.size() + 1, text, again);
    va_end(arguments);
    va_end(again);
    return made;
}

}  // namespace convgpu::ptx

// 9.7.12 Control Flow Instructions. The decoder itself makes bra, brx.idx, ret, exit and call; here are the functions
// that a kernel calls and the machine provides.
#include <cstdio>

#include "lanes.h"

namespace convgpu::ptx {
namespace {

// Reads a local or global variable of one lane.
template <class T>
T read(Warp& w, const Step& s, int l, U64 address) {
    T value;
    std::memcpy(&value, resolve_one(w, s, l, Space::kGeneric, Use::kRead, sizeof(T), address), sizeof(T));
    return value;
}

U64 local_address(uint32_t place) { return window_of(Space::kLocal) | place; }

std::string text_at(Warp& w, const Step& s, int l, U64 address) {
    std::string text;
    for (char c; (c = static_cast<char>(read<uint8_t>(w, s, l, address + text.size()))) != 0;) text += c;
    return text;
}

// One conversion of printf's format, with its argument, which lies at a multiple of its size.
std::string converted(Warp& w, const Step& s, int l, std::string spec, U64& argument) {
    const char kind = spec.back();
    const auto next = [&](uint32_t bytes) {
        argument = (argument + bytes - 1) / bytes * bytes;
        const U64 at = argument;
        argument += bytes;
        return at;
    };
    char text[512];
    const bool wide = spec.find('l') != std::string::npos || spec.find('z') != std::string::npos ||
                      spec.find('j') != std::string::npos;
    switch (kind) {
        case 'd':
        case 'i':
        case 'u':
        case 'x':
        case 'X':
        case 'o':
        case 'c': {
            std::string plain;
            for (const char c : spec) {
                if (!std::strchr("lhzjt", c)) plain += c;
            }
            if (kind != 'c') plain.insert(plain.size() - 1, "ll");
            const bool with_sign = kind == 'd' || kind == 'i';
            const long long value = wide        ? static_cast<long long>(read<U64>(w, s, l, next(8)))
                                    : with_sign ? static_cast<long long>(read<S32>(w, s, l, next(4)))
                                                : static_cast<long long>(read<U32>(w, s, l, next(4)));
            if (kind == 'c')
                std::snprintf(text, sizeof text, plain.c_str(), static_cast<int>(value));
            else
                std::snprintf(text, sizeof text, plain.c_str(), value);
            return text;
        }
        case 's':
            return text_at(w, s, l, read<U64>(w, s, l, next(8)));
        case 'p':
            std::snprintf(text, sizeof text, spec.c_str(), reinterpret_cast<void*>(read<U64>(w, s, l, next(8))));
            return text;
        default:  // e, f, g, a
            std::snprintf(text, sizeof text, spec.c_str(), read<double>(w, s, l, next(8)));
            return text;
    }
}

std::string printed(Warp& w, const Step& s, int l, const std::string& text, U64 argument) {
    std::string out;
    for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            out += text[at];
            continue;
        }
        size_t end = at + 1;
        while (end < text.size() && std::strchr("-+ #0123456789.lhzjt", text[end])) ++end;
        if (end >= text.size()) break;
        if (text[end] == '%')
            out += '%';
        else if (std::strchr("diuxXocspeEfFgGaA", text[end]))
            out += converted(w, s, l, text.substr(at, end + 1 - at), argument);
        else
            fault(w, s, l, "printf", "a conversion that printf does not have: " + text.substr(at, end + 1 - at));
        at = end;
    }
    return out;
}

// op: result, format, arguments: places in local memory
void print(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        const U64 format_at = read<U64>(w, s, l, local_address(s.op[1])),
                  arguments = read<U64>(w, s, l, local_address(s.op[2]));
        const std::string text = printed(w, s, l, text_at(w, s, l, format_at), arguments);
        w.worker->report.output += text;
        const auto count = static_cast<U32>(text.size());
        std::memcpy(resolve_one(w, s, l, Space::kLocal, Use::kWrite, 4, s.op[0]), &count, 4);
    });
}

// op: message, file, line, function, size of a character
void fail_assertion(Warp& w, const Step& s, Mask lanes) {
    const int l = __builtin_ctz(lanes);
    const auto text = [&](uint32_t place) { return text_at(w, s, l, read<U64>(w, s, l, local_address(place))); };
    fault(w, s, l, "assertion",
          format("%s:%u: %s: the assertion %s failed", text(s.op[1]).c_str(),
                 read<U32>(w, s, l, local_address(s.op[2])), text(s.op[3]).c_str(), text(s.op[0]).c_str()));
}

}  // namespace

void add_control_flow(Table& t) {
    t.section("9.7.12 call");
    t.family("call vprintf", [](Builder& b) { b.emit(&print, {}); });
    t.family("call __assertfail", [](Builder& b) { b.emit(&fail_assertion, {}); });
}

}  // namespace convgpu::ptx

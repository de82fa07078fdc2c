// PTX text as words, numbers, strings and punctuation (PTX ISA, section 4: Syntax). A word may hold dots, as in
// add.rn.f32, %tid.x and .reg; every token knows its line.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace convgpu::ptx {

struct Token {
    enum Kind : uint8_t { kWord, kNumber, kString, kPunctuation, kEnd } kind = kEnd;
    std::string_view text;
    uint32_t line = 0;

    bool is(std::string_view other) const { return kind != kString && text == other; }
};

// The tokens of `text`, which must live as long as they do. The last one is of kind kEnd.
std::vector<Token> tokens_of(std::string_view text);

}  // namespace convgpu::ptx

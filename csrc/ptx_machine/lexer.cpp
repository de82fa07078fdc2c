#include "lexer.h"

#include <cctype>

#include "error.h"

namespace convgpu::ptx {
namespace {

bool starts_word(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}
bool continues_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
}

class Lexer {
public:
    explicit Lexer(std::string_view text) : text_(text) {}

    std::vector<Token> run() {
        std::vector<Token> tokens;
        tokens.reserve(text_.size() / 4);
        while (skip_space()) tokens.push_back(next());
        tokens.push_back({Token::kEnd, "the end of the text", line_});
        return tokens;
    }

private:
    std::string_view text_;
    size_t at_ = 0;
    uint32_t line_ = 1;

    char here(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

    // White space and comments. Returns whether anything follows.
    bool skip_space() {
        while (at_ < text_.size()) {
            if (here() == '\n') {
                ++line_;
                ++at_;
            } else if (std::isspace(static_cast<unsigned char>(here())) || here() == '\0') {
                ++at_;
            } else if (here() == '/' && here(1) == '/') {
                while (at_ < text_.size() && here() != '\n') ++at_;
            } else if (here() == '/' && here(1) == '*') {
                const uint32_t begin = line_;
                for (at_ += 2; !(here() == '*' && here(1) == '/'); ++at_) {
                    if (at_ >= text_.size()) throw Error(format("PTX line %u: a comment that does not end", begin));
                    line_ += here() == '\n';
                }
                at_ += 2;
            } else {
                return true;
            }
        }
        return false;
    }

    Token next() {
        const size_t begin = at_;
        const uint32_t line = line_;
        Token::Kind kind = Token::kPunctuation;
        if (here() == '"') {
            return {Token::kString, string(), line};
        }
        if (starts_word(here())) {
            kind = Token::kWord;
            // "::" belongs to a word (.shared::cta), while one ":" ends a label.
            while (continues_word(here()) || (here() == ':' && here(1) == ':' && continues_word(here(2)))) {
                at_ += here() == ':' ? 2 : 1;
            }
        } else if (std::isdigit(static_cast<unsigned char>(here()))) {
            kind = Token::kNumber;
            while (std::isalnum(static_cast<unsigned char>(here())) || here() == '.') ++at_;
        } else {
            ++at_;
        }
        return {kind, text_.substr(begin, at_ - begin), line};
    }

    std::string_view string() {
        const size_t begin = ++at_;
        while (here() != '"') {
            if (at_ >= text_.size() || here() == '\n')
                throw Error(format("PTX line %u: a string that does not end", line_));
            at_ += here() == '\\' ? 2 : 1;
        }
        return text_.substr(begin, at_++ - begin);
    }
};

}  // namespace

std::vector<Token> tokens_of(std::string_view text) { return Lexer(text).run(); }

}  // namespace convgpu::ptx

#include "parser.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "lexer.h"

namespace convgpu::ptx {

const char* name_of(Space space) {
    static const char* const names[] = {"global", "shared", "local", "parameter", "constant", "generic"};
    return names[static_cast<int>(space)];
}

uint32_t bytes_of_type(const std::string& type) {
    static const std::map<std::string, uint32_t> sizes{
        {"pred", kPredicate}, {"b8", 1},   {"u8", 1},    {"s8", 1},    {"b16", 2},    {"u16", 2},   {"s16", 2},
        {"f16", 2},           {"bf16", 2}, {"b32", 4},   {"u32", 4},   {"s32", 4},    {"f32", 4},   {"f16x2", 4},
        {"bf16x2", 4},        {"tf32", 4}, {"b64", 8},   {"u64", 8},   {"s64", 8},    {"f64", 8},   {"b128", 16},
        {"e4m3", 1},          {"e5m2", 1}, {"u16x2", 4}, {"s16x2", 4}, {"e4m3x2", 2}, {"e5m2x2", 2}};
    const auto found = sizes.find(type);
    return found == sizes.end() ? 0 : found->second;
}

namespace {

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> words;
    for (size_t at = 0;;) {
        const size_t dot = text.find('.', at);
        words.emplace_back(text.substr(at, dot - at));
        if (dot == std::string_view::npos) return words;
        at = dot + 1;
    }
}

class Parser {
public:
    explicit Parser(const std::string& text) : tokens_(tokens_of(text)) {}

    Module run() {
        while (here().kind != Token::kEnd) top_level();
        if (module_.version.empty()) throw Error("expected PTX, which begins with .version, got none");
        for (auto& [name, v] : module_.variables) {
            for (Operand& o : v.values) take_address(o);
        }
        for (auto& [name, f] : module_.functions) {
            for (Statement& s : f.body) {
                if (s.kind != Statement::kInstruction || s.instruction.words[0] == "call") continue;
                for (Operand& o : s.instruction.operands) take_address(o);
            }
        }
        return std::move(module_);
    }

private:
    std::vector<Token> tokens_;
    size_t at_ = 0;
    Module module_;
    Location location_;

    const Token& here(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
    [[noreturn]] void fail(const std::string& expected) const {
        throw Error(format("PTX line %u: expected %s, got %s", here().line, expected.c_str(),
                           std::string(here().text.substr(0, 60)).c_str()));
    }
    bool take(std::string_view text) {
        if (!here().is(text)) return false;
        ++at_;
        return true;
    }
    void expect(std::string_view text) {
        if (!take(text)) fail("'" + std::string(text) + "'");
    }
    std::string word() {
        if (here().kind != Token::kWord) fail("a name");
        return std::string(tokens_[at_++].text);
    }
    uint64_t number() {
        if (here().kind != Token::kNumber) fail("a number");
        Operand value;
        literal(value);
        return value.bits;
    }
    void skip_line() {
        for (const uint32_t line = here().line; here().kind != Token::kEnd && here().line == line;) ++at_;
    }
    void skip_braces() {
        expect("{");
        for (int depth = 1; depth; ++at_) {
            if (here().kind == Token::kEnd) fail("'}'");
            depth += here().is("{") ? 1 : here().is("}") ? -1 : 0;
        }
    }

    // ---- section 11: directives

    void top_level() {
        const Token first = here();
        if (take(".version")) {
            module_.version = std::string(tokens_[at_++].text);
        } else if (take(".target")) {
            module_.target = word();
            while (take(",")) word();
        } else if (take(".address_size")) {
            if (number() != 64) throw Error(format("PTX line %u: expected addresses of 64 bits", first.line));
        } else if (first.is(".file")) {
            file();
        } else if (first.is(".loc")) {
            skip_line();
        } else if (take(".section")) {
            word();
            skip_braces();
        } else if (take(".pragma")) {
            while (!take(";")) ++at_;
        } else if (take(".alias")) {
            fail("no .alias, which the machine does not have");
        } else {
            declaration();
        }
    }

    void file() {
        ++at_;
        const uint64_t index = number();
        if (index >= 100000) fail("a number of a file");
        if (here().kind != Token::kString) fail("a file's name");
        module_.files.resize(std::max<size_t>(module_.files.size(), index + 1));
        module_.files[index] = std::string(tokens_[at_++].text);
        if (take(",")) {
            number();
            expect(",");
            number();
        }
    }

    void declaration() {
        bool external = false;
        for (;;) {
            if (take(".extern"))
                external = true;
            else if (!take(".visible") && !take(".weak") && !take(".common"))
                break;
        }
        if (here().is(".entry") || here().is(".func")) {
            function();
        } else if (here().is(".global") || here().is(".const") || here().is(".shared")) {
            for (Variable& v : variables()) {
                v.external = external;
                module_.variables[v.name] = std::move(v);
            }
        } else {
            fail("a directive that the machine knows");
        }
    }

    // .space [.align n] [.v4] .type name[n][m] = {...}, ...;
    std::vector<Variable> variables() {
        Variable common;
        const std::string space = word();
        common.space = space == ".shared"  ? Space::kShared
                       : space == ".const" ? Space::kConst
                       : space == ".local" ? Space::kLocal
                       : space == ".param" ? Space::kParam
                                           : Space::kGlobal;
        uint32_t vector = 1;
        while (here().kind == Token::kWord && here().text[0] == '.') {
            const std::string w = word();
            if (w == ".align") {
                common.align = static_cast<uint32_t>(number());
            } else if (w == ".attribute") {
                while (!take(")")) ++at_;
            } else if (w == ".v2" || w == ".v4") {
                vector = w == ".v2" ? 2 : 4;
            } else if (w != ".ptr") {
                common.type = w.substr(1);
                common.element = bytes_of_type(common.type);
                if (!common.element || common.element == kPredicate) fail("a type instead of " + w);
            }
        }
        std::vector<Variable> list;
        do {
            Variable v = common;
            v.line = here().line;
            v.name = word();
            uint64_t count = vector;
            while (take("[")) {
                if (here().is("]"))
                    v.open = true;
                else
                    count *= number();
                expect("]");
            }
            v.size = v.open ? 0 : count * v.element;
            v.align = std::max(v.align, v.element * vector);
            if (take("=")) initialiser(v.values);
            if (v.open && !v.values.empty()) v.open = false, v.size = v.values.size() * v.element;
            list.push_back(std::move(v));
        } while (take(","));
        expect(";");
        return list;
    }

    void initialiser(std::vector<Operand>& values) {
        if (take("{")) {
            while (!take("}")) {
                initialiser(values);
                take(",");
            }
            return;
        }
        if (here().is("generic") && here(1).is("(")) {
            at_ += 2;
            values.push_back(operand());
            expect(")");
        } else {
            values.push_back(operand());
        }
        if (take("+")) values.back().displacement = static_cast<int64_t>(number());
    }

    std::vector<Parameter> parameters(uint32_t& total) {
        std::vector<Parameter> list;
        total = 0;
        expect("(");
        while (!take(")")) {
            Parameter p;
            uint32_t element = 0;
            while (here().kind == Token::kWord && here().text[0] == '.') {
                const std::string w = word();
                if (w == ".align") {
                    // The alignment of what a pointer points to follows .ptr; that of the parameter stands before its
                    // type.
                    const auto align = static_cast<uint32_t>(number());
                    if (!element) p.align = align;
                } else if (const uint32_t bytes = bytes_of_type(w.substr(1))) {
                    element = bytes;
                    p.type = w.substr(1);
                }
            }
            p.name = word();
            uint64_t count = 1;
            if (take("[")) {
                p.array = true;
                count = here().is("]") ? 0 : number();
                expect("]");
            }
            p.size = static_cast<uint32_t>(element * count);
            p.align = std::max(p.align, element);
            p.offset = (total + p.align - 1) / p.align * p.align;
            total = p.offset + p.size;
            list.push_back(std::move(p));
            take(",");
        }
        return list;
    }

    void function() {
        Function f;
        f.line = here().line;
        f.entry = word() == ".entry";
        uint32_t unused = 0;
        if (here().is("(")) f.results = parameters(unused);
        f.name = word();
        if (here().is("(")) f.parameters = parameters(f.parameter_bytes);
        performance_directives(f);
        if (!take(";")) {
            f.defined = true;
            location_ = {};
            expect("{");
            body(f.body);
        }
        Function& known = module_.functions[f.name];
        if (f.entry && !known.defined && f.defined) module_.order.push_back(f.name);
        if (f.defined || !known.defined) known = std::move(f);
    }

    void performance_directives(Function& f) {
        while (!here().is("{") && !here().is(";")) {
            const std::string w = word();
            std::vector<uint32_t> values;
            if (here().kind == Token::kNumber) {
                do values.push_back(static_cast<uint32_t>(number()));
                while (take(","));
            }
            if (w == ".maxntid" || w == ".reqntid") {
                f.max_threads = 1;
                for (const uint32_t n : values) f.max_threads *= n;
                f.exact_threads = w == ".reqntid";
            } else if (w == ".reqnctapercluster") {
                for (size_t k = 0; k < 3; ++k) f.cluster[k] = k < values.size() ? values[k] : 1;
            } else if (w == ".pragma") {
                while (!take(";")) ++at_;
            } else if (w[0] != '.') {
                fail("a directive of a function instead of " + w);
            }
        }
    }

    // ---- statements

    void body(std::vector<Statement>& statements) {
        for (int depth = 1; depth;) {
            Statement s;
            if (here().kind == Token::kEnd) fail("'}'");
            if (take(";")) continue;
            if (take("{")) {
                ++depth;
                s.kind = Statement::kOpen;
            } else if (take("}")) {
                if (!--depth) return;
                s.kind = Statement::kClose;
            } else if (here().kind == Token::kWord && here(1).is(":")) {
                s.label = word();
                ++at_;
                s.kind = Statement::kLabel;
                if (take(".branchtargets")) {
                    s.kind = Statement::kTargets;
                    do s.targets.push_back(word());
                    while (take(","));
                    expect(";");
                } else if (here().is(".callprototype")) {
                    while (!take(";")) ++at_;
                    continue;
                }
            } else if (here().is(".loc")) {
                loc();
                continue;
            } else if (take(".pragma")) {
                while (!take(";")) ++at_;
                continue;
            } else if (here().kind == Token::kWord && here().text.substr(0, 5) == ".reg.") {
                const std::string declared = word();  // ".reg.b16 x;", as inline PTX is often written
                registers(statements, declared.substr(4));
                continue;
            } else if (take(".reg")) {
                registers(statements, word());
                continue;
            } else if (here().is(".local") || here().is(".shared") || here().is(".param") || here().is(".global") ||
                       here().is(".const")) {
                for (Variable& v : variables()) {
                    s.kind = Statement::kVariable;
                    s.variable = std::move(v);
                    statements.push_back(s);
                }
                continue;
            } else {
                instruction(s.instruction);
            }
            statements.push_back(std::move(s));
        }
    }

    void loc() {
        const uint32_t line = here().line;
        ++at_;
        location_.file = static_cast<uint32_t>(number());
        location_.line = static_cast<uint32_t>(number());
        while (here().kind != Token::kEnd && here().line == line) ++at_;
    }

    // The address of a function is a number, which indirect calls know. No memory begins there.
    void take_address(Operand& o) {
        if (o.kind != Operand::kName) return;
        const auto f = module_.functions.find(o.name);
        if (f == module_.functions.end() || f->second.entry) return;
        const auto [at, fresh] =
            module_.taken.try_emplace(o.name, 0xfc00000000000000 + 16 * (module_.taken.size() + 1));
        o.kind = Operand::kInteger;
        o.bits = at->second + static_cast<uint64_t>(o.displacement);
        o.name.clear();
    }

    void registers(std::vector<Statement>& statements, const std::string& type) {
        Statement s;
        s.kind = Statement::kRegisters;
        s.registers.type = type.substr(1);
        s.registers.bytes = bytes_of_type(s.registers.type);
        if (!s.registers.bytes) fail("a type instead of " + type);
        do {
            s.registers.name = word();
            s.registers.count = 0;
            if (take("<")) {
                s.registers.count = static_cast<uint32_t>(number());
                expect(">");
            }
            statements.push_back(s);
        } while (take(","));
        expect(";");
    }

    void instruction(Instruction& i) {
        i.line = here().line;
        i.source = location_;
        if (take("@")) {
            i.guard_negated = take("!");
            i.guard = word();
        }
        i.opcode = word();
        i.words = split(i.opcode);
        while (!take(";")) {
            i.operands.push_back(operand());
            if (take("+")) {  // the address of a variable, and bytes
                Operand d;
                literal(d);
                i.operands.back().displacement = static_cast<int64_t>(d.bits);
            }
            if (!take(",") && !here().is(";")) fail("',' or ';'");
        }
    }

    Operand operand() {
        Operand o = single_operand();
        if (take("|")) {
            Operand pair;
            pair.kind = Operand::kPair;
            pair.parts.push_back(std::move(o));
            pair.parts.push_back(single_operand());
            return pair;
        }
        return o;
    }

    void list(Operand& o, Operand::Kind kind, std::string_view end) {
        o.kind = kind;
        ++at_;
        while (!take(end)) {
            o.parts.push_back(operand());
            if (!take(",") && !here().is(end)) fail("',' or '" + std::string(end) + "'");
        }
    }

    Operand single_operand() {
        Operand o;
        if (here().is("!")) {
            ++at_;
            o = single_operand();
            o.negated = true;
        } else if (here().is("[")) {
            memory(o);
        } else if (here().is("{")) {
            list(o, Operand::kVector, "}");
        } else if (here().is("(")) {
            list(o, Operand::kList, ")");
        } else if (here().is("-") || here().kind == Token::kNumber) {
            literal(o);
        } else {
            o.name = word();
            if (o.name == "_") o.kind = Operand::kSink;
            if (o.name == "WARP_SZ") o.kind = Operand::kInteger, o.bits = 32;
        }
        return o;
    }

    void memory(Operand& o) {
        o.kind = Operand::kMemory;
        ++at_;
        o.parts.push_back(operand());
        if (o.parts[0].kind == Operand::kInteger && !here().is("]") && !here().is(",")) fail("']'");
        for (;;) {
            if (take("+")) {
                Operand d;
                literal(d);
                o.displacement += static_cast<int64_t>(d.bits);
            } else if (here().is("-")) {
                Operand d;
                literal(d);
                o.displacement += static_cast<int64_t>(d.bits);
            } else {
                break;
            }
        }
        while (take(",")) o.parts.push_back(operand());
        expect("]");
    }

    // 4.5: integers with a sign, 0f and 0d followed by the bits of a float or double, decimal floats.
    void literal(Operand& o) {
        const bool minus = take("-");
        if (here().kind != Token::kNumber) fail("a number");
        std::string digits(tokens_[at_++].text);
        const char prefix = digits.size() > 2 && digits[0] == '0' ? static_cast<char>(std::tolower(digits[1])) : ' ';
        char* end = nullptr;
        if ((prefix == 'f' && digits.size() == 10) || (prefix == 'd' && digits.size() == 18)) {
            o.kind = Operand::kFloat;
            o.single = prefix == 'f';
            o.bits = std::strtoull(digits.c_str() + 2, &end, 16);
            if (minus) o.bits ^= o.single ? uint64_t(1) << 31 : uint64_t(1) << 63;
        } else if (digits.find('.') != std::string::npos) {
            o.kind = Operand::kFloat;
            const double value = (minus ? -1 : 1) * std::strtod(digits.c_str(), &end);
            std::memcpy(&o.bits, &value, 8);
        } else {
            o.kind = Operand::kInteger;
            if (digits.back() == 'U') digits.pop_back();
            const bool binary = prefix == 'b';
            o.bits = std::strtoull(digits.c_str() + (binary ? 2 : 0), &end, binary ? 2 : 0);
            if (minus) o.bits = 0 - o.bits;
        }
        if (*end) throw Error(format("PTX line %u: expected a number, got %s", here().line, digits.c_str()));
    }
};

}  // namespace

Module parse(const std::string& text) { return Parser(text).run(); }

}  // namespace convgpu::ptx

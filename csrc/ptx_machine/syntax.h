// A module of PTX as the parser hands it on: variables, functions, and the statements of their bodies, in the words of
// PTX ISA, sections 4 (Syntax), 5 (State Spaces, Types, and Variables) and 11 (Directives).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace convgpu::ptx {

enum class Space : uint8_t { kGlobal, kShared, kLocal, kParam, kConst, kGeneric };
const char* name_of(Space space);

// The bytes of a value of that fundamental type (5.2.1); 0 for a word that is no type. A predicate has none of its own:
// its size is kPredicate.
constexpr uint32_t kPredicate = 1000;
uint32_t bytes_of_type(const std::string& type);

struct Operand {
    enum Kind : uint8_t {
        kName,     // a register, a variable, a label, or a function
        kInteger,  // bits
        kFloat,    // bits of a double, or with `single` of a float
        kMemory,   // [parts[0] + displacement], further operands within the brackets in parts
        kVector,   // {parts}
        kList,     // (parts), in a call
        kPair,     // parts[0]|parts[1]
        kSink,     // _
    } kind = kName;
    std::string name;
    uint64_t bits = 0;
    bool single = false;
    bool negated = false;  // !p, and -r where an instruction allows it
    int64_t displacement = 0;
    std::vector<Operand> parts;
};

// A place in the user's source, from .loc; file 0 where the module has no line information.
struct Location {
    uint32_t file = 0, line = 0;
};

struct Instruction {
    std::string opcode;              // with all modifiers, as written
    std::vector<std::string> words;  // opcode at the dots
    std::string guard;               // the register of @p or @!p, or nothing
    bool guard_negated = false;
    std::vector<Operand> operands;
    uint32_t line = 0;
    Location source;
};

struct Variable {
    Space space = Space::kGlobal;
    std::string name;
    std::string type;
    uint32_t element = 0, align = 1;  // bytes
    uint64_t size = 0;                // bytes
    bool open = false;                // name[]: dynamic shared memory
    bool external = false;
    uint32_t line = 0;
    std::vector<Operand> values;  // of the initialiser
};

struct Parameter {
    std::string name, type;
    uint32_t offset = 0, size = 0, align = 1;
    bool array = false;
};

struct Registers {  // .reg .b32 %r<count>, or one register where count is 0
    std::string name, type;
    uint32_t bytes = 0, count = 0;
};

struct Statement {
    enum Kind : uint8_t { kInstruction, kLabel, kTargets, kRegisters, kVariable, kOpen, kClose } kind = kInstruction;
    Instruction instruction;
    std::string label;                 // of kLabel and kTargets
    std::vector<std::string> targets;  // of kTargets: label: .branchtargets a, b, ...;
    Registers registers;
    Variable variable;
};

struct Function {
    std::string name;
    bool entry = false, defined = false;
    std::vector<Parameter> results, parameters;
    uint32_t parameter_bytes = 0;
    uint32_t max_threads = 0;         // .maxntid, .reqntid
    bool exact_threads = false;       // .reqntid
    uint32_t cluster[3] = {0, 0, 0};  // .reqnctapercluster
    std::vector<Statement> body;
    uint32_t line = 0;
};

struct Module {
    std::string version, target;
    std::vector<std::string> files = {""};  // by the number that .loc uses
    std::vector<std::string> order;         // names of the entries as they come
    std::map<std::string, Function> functions;
    std::map<std::string, Variable> variables;
    std::map<std::string, uint64_t> taken;  // functions whose address is taken, which stands for them in registers
};

}  // namespace convgpu::ptx

// From the statements of an entry to steps. Functions that it calls are put in place, each call by itself.
#include <algorithm>
#include <cstring>
#include <functional>
#include <set>

#include "kernel.h"
#include "table.h"

namespace convgpu::ptx {

Builder::Address Builder::address(const Operand& o) {
    if (o.kind != Operand::kMemory) throw Error("expected an address in brackets");
    const Operand& base = o.parts[0];
    Address a;
    a.displacement = o.displacement;
    uint64_t at;
    if (const uint32_t bytes = width(base)) {
        a.base = place(base, bytes);
        a.wide = bytes == 8;
        if (bytes != 4 && bytes != 8) throw Error("expected an address of 32 or 64 bits");
    } else if (base.kind == Operand::kInteger) {
        a.displacement += static_cast<int64_t>(base.bits);
    } else if (base.kind == Operand::kName && address_of(base.name, at, a.space)) {
        a.displacement += static_cast<int64_t>(at);
        a.named = true;
    } else {
        throw Error("the name " + base.name + " is not known");
    }
    return a;
}

namespace {

uint64_t aligned(uint64_t at, uint64_t to) { return (at + to - 1) / to * to; }

struct Register {
    uint32_t place = 0, bytes = 0;
};

// What names mean within braces.
struct Scope {
    int parent = -1;
    std::map<std::string, Register> registers;
    std::map<std::string, uint32_t> numbered;  // %r<10>: the prefix, and the number of a family
    std::map<std::string, uint32_t> labels;
    std::map<std::string, std::vector<std::string>> targets;
    std::map<std::string, uint64_t> locals;  // variables and parameters of calls, in the lane's local memory
};

class Decoder {
public:
    Decoder(const Module& module, const Function& entry, const Addresses& addresses)
        : module_(module), entry_(entry), addresses_(addresses), kernel_(std::make_unique<Kernel>()) {}

    std::unique_ptr<Kernel> run() {
        Kernel& k = *kernel_;
        k.name = entry_.name;
        k.parameters = entry_.parameters;
        k.parameter_bytes = entry_.parameter_bytes;
        k.max_threads = entry_.max_threads;
        k.exact_threads = entry_.exact_threads;
        k.files = module_.files;
        std::copy(entry_.cluster, entry_.cluster + 3, k.cluster);
        lay_out_shared();
        body(entry_, {});
        resolve_labels();
        finish();
        return std::move(kernel_);
    }

    // ---- names

    const Register* find_register(const std::string& name) const {
        for (int s = scope_; s >= 0; s = scopes_[static_cast<size_t>(s)].parent) {
            const auto& registers = scopes_[static_cast<size_t>(s)].registers;
            const auto found = registers.find(name);
            if (found != registers.end()) return &found->second;
        }
        return nullptr;
    }

    uint32_t special(const std::string& name) {
        const auto [found, fresh] = specials_.try_emplace(name, 0);
        if (fresh) found->second = allocate(4);
        return found->second;
    }

    bool address_of(const std::string& name, uint64_t& address, Space& space) const {
        for (int s = scope_; s >= 0; s = scopes_[static_cast<size_t>(s)].parent) {
            const auto& locals = scopes_[static_cast<size_t>(s)].locals;
            const auto found = locals.find(name);
            if (found == locals.end()) continue;
            address = found->second;
            space = Space::kLocal;
            return true;
        }
        const auto shared = shared_.find(name);
        if (shared != shared_.end()) {
            address = shared->second;
            space = Space::kShared;
            return true;
        }
        for (const Parameter& p : entry_.parameters) {
            if (p.name != name) continue;
            address = p.offset;
            space = Space::kParam;
            return true;
        }
        const auto v = module_.variables.find(name);
        if (v == module_.variables.end()) return false;
        address = addresses_.address_of(name);
        space = v->second.space;
        return true;
    }

    // ---- places

    uint32_t allocate(uint32_t bytes) {
        const uint32_t align = bytes == kPredicate ? 4 : 64, size = bytes == kPredicate ? 4 : 32 * bytes;
        size_ = static_cast<uint32_t>(aligned(size_, align));
        const uint32_t place = size_;
        size_ += size;
        return place;
    }

    uint32_t constant(uint32_t bytes, uint64_t value) {
        if (bytes == kPredicate)
            value = value != 0;
        else if (bytes < 8)
            value &= (uint64_t(1) << 8 * bytes) - 1;
        const auto [found, fresh] = constants_.try_emplace({bytes, value}, 0);
        if (fresh) found->second = allocate(bytes);
        return found->second;
    }

    Step& emit(Handler run, const std::vector<uint32_t>& places, Flow flow) {
        Step s;
        s.run = run;
        s.flow = flow;
        auto owned = std::make_unique<uint32_t[]>(places.size() + 1);
        std::copy(places.begin(), places.end(), owned.get());
        s.op = owned.get();
        s.number = static_cast<uint32_t>(kernel_->steps.size());
        kernel_->places.push_back(std::move(owned));
        kernel_->steps.push_back(s);
        return kernel_->steps.back();
    }

    Kernel& kernel() { return *kernel_; }

private:
    const Module& module_;
    const Function& entry_;
    const Addresses& addresses_;
    std::unique_ptr<Kernel> kernel_;
    std::vector<Scope> scopes_;
    int scope_ = -1;
    std::map<std::string, uint64_t> shared_;
    std::map<std::pair<uint32_t, uint64_t>, uint32_t> constants_;
    std::map<std::string, uint32_t> specials_;
    uint32_t size_ = 0;
    struct Jump {
        uint32_t step;
        int scope;
        std::string label;
    };
    std::vector<Jump> jumps_, indexed_;
    std::vector<std::string> calls_;              // functions that are being put in place
    std::vector<std::vector<uint32_t>> returns_;  // their returns, which jump to the end

    friend class InstructionBuilder;

    // 5.1.6: the shared variables that the entry and what it calls name. Dynamic ones begin behind all others,
    // together.
    void lay_out_shared() {
        std::set<std::string> names, seen;
        std::map<std::string, Variable> inside;
        const std::function<void(const Operand&)> look = [&](const Operand& o) {
            if (!o.name.empty()) names.insert(o.name);
            for (const Operand& part : o.parts) look(part);
        };
        const std::function<void(const Function&)> visit = [&](const Function& f) {
            if (!seen.insert(f.name).second) return;
            for (const Statement& s : f.body) {
                if (s.kind == Statement::kVariable && s.variable.space == Space::kShared)
                    inside[s.variable.name] = s.variable;
                for (const Operand& o : s.instruction.operands) look(o);
                if (s.kind != Statement::kInstruction || s.instruction.words[0] != "call") continue;
                for (const Operand& o : s.instruction.operands) {
                    const auto callee = module_.functions.find(o.name);
                    if (callee != module_.functions.end()) visit(callee->second);
                }
            }
        };
        visit(entry_);
        for (const auto& [name, address] : module_.taken) visit(module_.functions.at(name));
        for (const auto& [name, v] : module_.variables) {
            if (v.space == Space::kShared && names.count(name)) inside[name] = v;
        }
        Kernel& k = *kernel_;
        uint32_t dynamic_align = 16;
        for (const auto& [name, v] : inside) {
            if (v.open) {
                dynamic_align = std::max(dynamic_align, v.align);
                continue;
            }
            k.static_shared = static_cast<uint32_t>(aligned(k.static_shared, v.align));
            k.shared.push_back({name, k.static_shared, v.size});
            shared_[name] = kSharedBase + k.static_shared;
            k.static_shared += static_cast<uint32_t>(v.size);
        }
        k.dynamic_at = static_cast<uint32_t>(aligned(k.static_shared, dynamic_align));
        for (const auto& [name, v] : inside) {
            if (!v.open) continue;
            shared_[name] = kSharedBase + k.dynamic_at;
            k.shared.push_back({name, k.dynamic_at, 0});
        }
    }

    uint64_t allocate_local(uint64_t bytes, uint64_t align) {
        const uint64_t at = aligned(kernel_->local_bytes, std::max<uint64_t>(align, 1));
        kernel_->local_bytes = static_cast<uint32_t>(aligned(at + bytes, 16));
        return kLocalBase + at;
    }

    void open_scope(int parent) {
        Scope s;
        s.parent = parent;
        scopes_.push_back(std::move(s));
        scope_ = static_cast<int>(scopes_.size()) - 1;
    }

    void body(const Function& f, const std::map<std::string, uint64_t>& arguments) {
        if (std::find(calls_.begin(), calls_.end(), f.name) != calls_.end()) {
            throw Error("the machine does not have functions that call themselves, as " + f.name + " does");
        }
        calls_.push_back(f.name);
        returns_.emplace_back();
        const int outer = scope_;
        open_scope(-1);
        scopes_.back().locals = arguments;
        for (const Statement& s : f.body) statement(f, s);
        const auto end = static_cast<int32_t>(kernel_->steps.size());
        for (const uint32_t step : returns_.back()) kernel_->steps[step].target = end;
        if (calls_.size() == 1) {
            emit(nullptr, {}, Flow::kExit);
            kernel_->origins.push_back({"the end", f.body.empty() ? f.line : f.body.back().instruction.line, {}});
        }
        returns_.pop_back();
        calls_.pop_back();
        scope_ = outer;
    }

    void statement(const Function& f, const Statement& s) {
        auto& scope = scopes_[static_cast<size_t>(scope_)];
        switch (s.kind) {
            case Statement::kOpen:
                open_scope(scope_);
                break;
            case Statement::kClose:
                scope_ = scope.parent;
                break;
            case Statement::kLabel:
                scope.labels[s.label] = static_cast<uint32_t>(kernel_->steps.size());
                break;
            case Statement::kTargets:
                scope.targets[s.label] = s.targets;
                break;
            case Statement::kRegisters: {
                const uint32_t bytes = s.registers.bytes < 2 ? 2 : s.registers.bytes;
                if (!s.registers.count) scope.registers[s.registers.name] = {allocate(bytes), bytes};
                for (uint32_t k = 0; k < s.registers.count; ++k) {
                    scope.registers[s.registers.name + std::to_string(k)] = {allocate(bytes), bytes};
                }
                break;
            }
            case Statement::kVariable:
                if (s.variable.space == Space::kLocal || s.variable.space == Space::kParam) {
                    scope.locals[s.variable.name] = allocate_local(s.variable.size, s.variable.align);
                } else if (s.variable.space != Space::kShared) {
                    throw Error(format("PTX line %u: a %s variable within a function", s.variable.line,
                                       name_of(s.variable.space)));
                }
                break;
            case Statement::kInstruction:
                instruction(f, s.instruction);
                break;
        }
    }

    void instruction(const Function& f, const Instruction& i);
    void instruction_steps(const Instruction& i);
    void call(const Instruction& i);
    std::map<std::string, uint64_t> bind(const Function& f, const std::vector<Operand>& results,
                                         const std::vector<Operand>& arguments, std::vector<uint32_t>& places);
    void indirect_call(const Instruction& i, const Operand& called, const std::vector<Operand>& results,
                       const std::vector<Operand>& arguments);

    void resolve_labels() {
        const auto scope_at = [&](int s) -> const Scope& { return scopes_[static_cast<size_t>(s)]; };
        const auto find = [&](int scope, const std::string& label) {
            for (; scope >= 0; scope = scope_at(scope).parent) {
                const auto found = scope_at(scope).labels.find(label);
                if (found != scope_at(scope).labels.end()) return static_cast<int32_t>(found->second);
            }
            throw Error(kernel_->name + ": the label " + label + " is not there");
        };
        for (const Jump& j : jumps_) kernel_->steps[j.step].target = find(j.scope, j.label);
        for (const Jump& j : indexed_) {
            auto targets = std::make_unique<Targets>();
            const std::vector<std::string>* labels = nullptr;
            for (int s = j.scope; s >= 0 && !labels; s = scope_at(s).parent) {
                const auto found = scope_at(s).targets.find(j.label);
                if (found != scope_at(s).targets.end()) labels = &found->second;
            }
            if (!labels) throw Error(kernel_->name + ": the targets " + j.label + " are not there");
            for (const std::string& label : *labels) targets->steps.push_back(find(j.scope, label));
            kernel_->steps[j.step].detail = targets.get();
            kernel_->details.push_back(std::move(targets));
        }
    }

    void finish() {
        Kernel& k = *kernel_;
        find_reconvergence(k);
        k.registers.assign(size_, 0);
        for (const auto& [key, place] : constants_) {
            if (key.first == kPredicate) {
                const Mask m = key.second ? kFull : 0;
                std::memcpy(&k.registers[place], &m, 4);
                continue;
            }
            for (uint32_t l = 0; l < 32; ++l)
                std::memcpy(&k.registers[place + l * key.first], &key.second, std::min(key.first, 8u));
        }
        for (const auto& [name, place] : specials_) k.specials.emplace_back(name, place);
    }
};

class InstructionBuilder final : public Builder {
public:
    InstructionBuilder(Decoder& decoder, const Instruction& source, size_t words)
        : Builder(source, words), decoder_(decoder) {}

    using Builder::place;
    uint32_t place(const Operand& o, uint32_t bytes) override {
        switch (o.kind) {
            case Operand::kSink:
                return kNone;
            case Operand::kInteger:
                return decoder_.constant(bytes, o.bits);
            case Operand::kFloat:
                return decoder_.constant(bytes, bits_of_float(o, bytes));
            case Operand::kName:
                break;
            default:
                throw Error("expected a register or a number");
        }
        if (const Register* r = decoder_.find_register(o.name)) {
            if (r->bytes != bytes) {
                throw Error(format("expected %s of %s, got the register %s of %s",
                                   bytes == kPredicate ? "a predicate" : "a register", bits_text(bytes).c_str(),
                                   o.name.c_str(), bits_text(r->bytes).c_str()));
            }
            return o.negated ? negated(r->place, bytes) : r->place;
        }
        if (o.name[0] == '%') {
            if (bytes == 4) return decoder_.special(o.name);
            throw Error("the register " + o.name + " is not declared");
        }
        uint64_t address;
        Space space;
        if (!address_of(o.name, address, space)) throw Error("the name " + o.name + " is not known");
        return decoder_.constant(bytes, address + static_cast<uint64_t>(o.displacement));
    }

    uint32_t width(const Operand& o) const override {
        if (o.kind != Operand::kName) return 0;
        const Register* r = decoder_.find_register(o.name);
        return r ? r->bytes : o.name[0] == '%' ? 4 : 0;
    }
    uint32_t constant(uint32_t bytes, uint64_t value) override { return decoder_.constant(bytes, value); }
    uint32_t scratch(uint32_t bytes) override { return decoder_.allocate(bytes); }
    bool address_of(const std::string& name, uint64_t& address, Space& space) const override {
        return decoder_.address_of(name, address, space);
    }
    Step& emit(Handler run, std::vector<uint32_t> places, Flow flow) override {
        return decoder_.emit(run, places, flow);
    }
    void keep(std::unique_ptr<Detail> detail) override { decoder_.kernel().details.push_back(std::move(detail)); }
    Kernel& kernel() override { return decoder_.kernel(); }

private:
    Decoder& decoder_;

    static std::string bits_text(uint32_t bytes) {
        return bytes == kPredicate ? "1 bit" : format("%u bits", 8 * bytes);
    }

    // !p as a source: a predicate of its own, made just before.
    uint32_t negated(uint32_t p, uint32_t bytes) {
        if (bytes != kPredicate) throw Error("expected no ! before a register");
        const uint32_t made = decoder_.allocate(kPredicate);
        emit([](Warp& w, const Step& s, Mask lanes) { w.set_predicate(s.op[0], lanes, ~w.predicate(s.op[1])); },
             {made, p}, Flow::kNext);
        return made;
    }

    static uint64_t bits_of_float(const Operand& o, uint32_t bytes) {
        if (bytes == 4 && o.single) return o.bits;
        if (bytes == 8 && !o.single) return o.bits;
        uint64_t bits = 0;
        if (bytes == 4) {
            double d;
            std::memcpy(&d, &o.bits, 8);
            const auto f = static_cast<float>(d);
            std::memcpy(&bits, &f, 4);
        } else if (bytes == 8) {
            float f;
            std::memcpy(&f, &o.bits, 4);
            const double d = f;
            std::memcpy(&bits, &d, 8);
        } else {
            throw Error("expected no floating-point number for an operand of 16 bits");
        }
        return bits;
    }
};

void Decoder::instruction(const Function& f, const Instruction& i) {
    const size_t first = kernel_->steps.size();
    try {
        instruction_steps(i);
        if (i.words[0] == "call") return;
        if (!i.guard.empty()) {
            const Register* guard = find_register(i.guard);
            if (!guard || guard->bytes != kPredicate) throw Error("the guard " + i.guard + " is no predicate");
            for (size_t k = first; k < kernel_->steps.size(); ++k) {
                kernel_->steps[k].guard = guard->place;
                kernel_->steps[k].guard_flip = i.guard_negated ? kFull : 0;
            }
        }
    } catch (const std::exception& error) {
        const std::string text = error.what();
        if (text.rfind("PTX line", 0) == 0) throw;
        throw Error(format("PTX line %u: %s, in %s: %s", i.line, i.opcode.c_str(), f.name.c_str(), text.c_str()));
    }
    kernel_->origins.resize(kernel_->steps.size(), {i.opcode, i.line, i.source});
}

void Decoder::instruction_steps(const Instruction& i) {
    const Table& table = Table::instance();
    const std::string& name = i.words[0];
    const auto step = static_cast<uint32_t>(kernel_->steps.size());
    // 9.7.12: control flow, which needs labels
    if (name == "call") return call(i);
    if (name == "bra" || name == "brx") {
        InstructionBuilder b(*this, i, i.words.size());
        b.expect_operands(name == "bra" ? 1 : 2, 2);
        if (name == "bra")
            jumps_.push_back({step, scope_, b.operand(0).name});
        else
            indexed_.push_back({step, scope_, b.operand(1).name});
        emit(nullptr, name == "bra" ? std::vector<uint32_t>{} : std::vector<uint32_t>{b.place(0, 4)},
             name == "bra" ? Flow::kBranch : Flow::kIndexed);
        return;
    }
    if (name == "ret" && calls_.size() > 1) {
        returns_.back().push_back(step);
        emit(nullptr, {}, Flow::kBranch);
        return;
    }
    if (name == "ret" || name == "exit") {
        emit(nullptr, {}, Flow::kExit);
        return;
    }
    if (const Form* form = table.form(i.opcode)) {
        InstructionBuilder b(*this, i, i.words.size());
        b.expect_operands(form->bytes.size(), form->bytes.size());
        std::vector<uint32_t> places;
        for (size_t k = 0; k < form->bytes.size(); ++k) places.push_back(b.place(k, form->bytes[k]));
        if (places[0] == kNone) throw Error("expected a destination, got _");
        emit(form->run, places, Flow::kNext);
        return;
    }
    size_t words = 0;
    const Family* family = table.family(i.words, words);
    if (!family) throw Error("the machine does not have this instruction");
    InstructionBuilder b(*this, i, words);
    family->build(b);
}

// 9.7.12.4: call (results), function, (arguments). Parameters are places in the caller's local memory.
void Decoder::call(const Instruction& i) {
    std::vector<Operand> results, arguments;
    const Operand* called = nullptr;
    for (const Operand& o : i.operands) {
        if (o.kind == Operand::kList)
            (called ? arguments : results) = o.parts;
        else if (!called)
            called = &o;  // and what follows the arguments is a prototype
    }
    if (!called) throw Error("expected a function");
    if (!i.guard.empty()) throw Error("the machine does not have guarded calls");
    const auto callee = module_.functions.find(called->name);
    if (callee == module_.functions.end()) return indirect_call(i, *called, results, arguments);
    const Function& f = callee->second;
    std::vector<uint32_t> places;
    const std::map<std::string, uint64_t> bound = bind(f, results, arguments, places);
    if (f.defined) return body(f, bound);
    size_t words = 0;
    const Family* family = Table::instance().family({"call " + f.name}, words);
    if (!family) throw Error("the function " + f.name + " is not defined in this module");
    InstructionBuilder b(*this, i, i.words.size());
    family->build(b);
    Step& s = kernel_->steps.back();
    auto owned = std::make_unique<uint32_t[]>(places.size() + 1);
    std::copy(places.begin(), places.end(), owned.get());
    s.op = owned.get();
    kernel_->places.push_back(std::move(owned));
    kernel_->origins.resize(kernel_->steps.size(), {f.name, i.line, i.source});
}

// Where the actual parameters of a call lie, by the names of the formal ones; `places` lists them.
std::map<std::string, uint64_t> Decoder::bind(const Function& f, const std::vector<Operand>& results,
                                              const std::vector<Operand>& arguments, std::vector<uint32_t>& places) {
    std::map<std::string, uint64_t> bound;
    const auto one = [&](const std::vector<Operand>& actual, const std::vector<Parameter>& formal) {
        if (actual.size() != formal.size())
            throw Error(format("expected %zu arguments of %s, got %zu", formal.size(), f.name.c_str(), actual.size()));
        for (size_t k = 0; k < formal.size(); ++k) {
            uint64_t address = 0;
            Space space = Space::kGeneric;
            if (!address_of(actual[k].name, address, space) || space != Space::kLocal)
                throw Error("expected a .param variable, got " + actual[k].name);
            bound[formal[k].name] = address;
            places.push_back(static_cast<uint32_t>(address));
        }
    };
    one(results, f.results);
    one(arguments, f.parameters);
    return bound;
}

// A call of the function whose address is in a register: every function whose address the module takes, and which has
// as many parameters, is put in place, behind a branch of the threads that call it.
void Decoder::indirect_call(const Instruction& i, const Operand& called, const std::vector<Operand>& results,
                            const std::vector<Operand>& arguments) {
    InstructionBuilder b(*this, i, i.words.size());
    const uint32_t address = b.place(called, 8);
    const auto placed = [&] { kernel_->origins.resize(kernel_->steps.size(), {i.opcode, i.line, i.source}); };
    std::vector<uint32_t> done;
    for (const auto& [name, value] : module_.taken) {
        const Function& f = module_.functions.at(name);
        if (!f.defined || f.results.size() != results.size() || f.parameters.size() != arguments.size()) continue;
        if (std::find(calls_.begin(), calls_.end(), name) != calls_.end()) continue;  // it would call itself
        const uint32_t other = b.scratch(kPredicate);
        emit(
            [](Warp& w, const Step& s, Mask lanes) {
                Mask m = 0;
                for (int l = 0; l < 32; ++l)
                    m |= Mask(w.lanes<uint64_t>(s.op[1])[l] != w.lanes<uint64_t>(s.op[2])[l]) << l;
                w.set_predicate(s.op[0], lanes, m);
            },
            {other, address, b.constant(8, value)}, Flow::kNext);
        const auto skip = static_cast<uint32_t>(kernel_->steps.size());
        emit(nullptr, {}, Flow::kBranch).guard = other;
        placed();
        std::vector<uint32_t> places;
        body(f, bind(f, results, arguments, places));
        placed();
        done.push_back(static_cast<uint32_t>(kernel_->steps.size()));
        emit(nullptr, {}, Flow::kBranch);
        kernel_->steps[skip].target = static_cast<int32_t>(kernel_->steps.size());
    }
    emit(
        [](Warp& w, const Step& s, Mask lanes) {
            fault(
                w, s, __builtin_ctz(lanes), "bounds",
                "an indirect call of no function with these parameters, or of one that calls itself, which the machine "
                "does not have");
        },
        {address}, Flow::kNext);
    placed();
    for (const uint32_t step : done) kernel_->steps[step].target = static_cast<int32_t>(kernel_->steps.size());
}

}  // namespace

std::unique_ptr<Kernel> decode(const Module& module, const Function& entry, const Addresses& addresses) {
    return Decoder(module, entry, addresses).run();
}

}  // namespace convgpu::ptx

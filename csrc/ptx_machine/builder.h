// What the instruction table sees of the decoder while it makes the steps of one instruction.
#pragma once
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "kernel.h"

namespace convgpu::ptx {

class Builder {
public:
    virtual ~Builder() = default;
    explicit Builder(const Instruction& source_, size_t name_words) : source(source_), used_(source_.words.size()) {
        for (size_t k = 0; k < name_words; ++k) used_[k] = true;
    }

    const Instruction& source;

    // ---- modifiers. Each is used up; what remains is an error.
    bool has(const char* word) {
        for (size_t k = 1; k < source.words.size(); ++k) {
            if (source.words[k] == word) {
                used_[k] = true;
                return true;
            }
        }
        return false;
    }
    // The index of the modifier that stands there, or `otherwise` where there is none of these.
    int one_of(std::initializer_list<const char*> words, int otherwise = -1) {
        int index = 0;
        for (const char* word : words) {
            if (has(word)) return index;
            ++index;
        }
        if (otherwise < 0) {
            std::string list;
            for (const char* word : words) list += std::string(list.empty() ? "." : ", .") + word;
            throw Error("expected one of " + list);
        }
        return otherwise;
    }
    void ignore(std::initializer_list<const char*> words) {
        for (const char* word : words) has(word);
    }
    std::string type(size_t from_end = 0) {
        if (source.words.size() < from_end + 2) throw Error("expected a type");
        const size_t k = source.words.size() - 1 - from_end;
        used_[k] = true;
        return source.words[k];
    }
    void no_more_modifiers() const {
        for (size_t k = 0; k < used_.size(); ++k) {
            if (!used_[k]) throw Error("the machine does not have its modifier ." + source.words[k]);
        }
    }

    // ---- operands
    const Operand& operand(size_t k) const {
        if (k >= source.operands.size()) throw Error(format("expected more than %zu operands", k));
        return source.operands[k];
    }
    size_t operands() const { return source.operands.size(); }
    void expect_operands(size_t least, size_t most) const {
        if (operands() < least || operands() > most) {
            throw Error(least == most ? format("expected %zu operands, got %zu", least, operands())
                                      : format("expected %zu to %zu operands, got %zu", least, most, operands()));
        }
    }
    // The place of a register of that many bytes or of a constant; kNone for the sink _. A predicate has kPredicate
    // bytes.
    virtual uint32_t place(const Operand& o, uint32_t bytes) = 0;
    uint32_t place(size_t k, uint32_t bytes) { return place(operand(k), bytes); }
    virtual uint32_t width(const Operand& o) const = 0;  // bytes of a register; 0 for anything else
    virtual uint32_t constant(uint32_t bytes, uint64_t value) = 0;
    virtual uint32_t scratch(uint32_t bytes) = 0;  // a register that has no name
    // Bytes and alignment of what a name stands for; the address of a variable.
    virtual bool address_of(const std::string& name, uint64_t& address, Space& space) const = 0;
    // p|q: the second is kNone where only one stands.
    std::pair<uint32_t, uint32_t> pair(size_t k, uint32_t bytes, uint32_t bytes2) {
        const Operand& o = operand(k);
        if (o.kind != Operand::kPair) return {place(o, bytes), kNone};
        return {place(o.parts[0], bytes), place(o.parts[1], bytes2)};
    }
    // The places of a vector's registers, or of a single one.
    std::vector<uint32_t> places(const Operand& o, uint32_t bytes) {
        std::vector<uint32_t> list;
        if (o.kind != Operand::kVector) return {place(o, bytes)};
        for (const Operand& part : o.parts) list.push_back(place(part, bytes));
        return list;
    }
    uint64_t integer(size_t k) const {
        if (operand(k).kind != Operand::kInteger) throw Error(format("expected a number as operand %zu", k + 1));
        return operand(k).bits;
    }
    struct Address {
        uint32_t base = kNone;  // a register
        bool wide = false;
        int64_t displacement = 0;
        Space space = Space::kGeneric;  // of a variable that is named
        bool named = false;
    };
    Address address(const Operand& o);

    // ---- steps
    virtual Step& emit(Handler run, std::vector<uint32_t> places, Flow flow = Flow::kNext) = 0;
    template <class T>
    T& attach(Step& s) {
        auto owned = std::make_unique<T>();
        T& made = *owned;
        keep(std::move(owned));
        s.detail = &made;
        return made;
    }
    virtual void keep(std::unique_ptr<Detail> detail) = 0;
    virtual Kernel& kernel() = 0;

private:
    std::vector<bool> used_;
};

}  // namespace convgpu::ptx

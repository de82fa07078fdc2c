// The table of instructions, in the order of the manual (PTX ISA, section 9.7; numbers as of version 9.0).
//
// Most instructions compute each lane for itself: the table gives their name, their types and a function of one lane.
// Those with addresses, modes or a say in control flow have a function that makes their steps, by their name's first
// words.
#pragma once
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "builder.h"
#include "machine.h"

namespace convgpu::ptx {

struct Half {
    uint16_t bits;
};
struct BFloat {
    uint16_t bits;
};
using U8 = uint8_t;
using S8 = int8_t;
using U16 = uint16_t;
using S16 = int16_t;
using U32 = uint32_t;
using S32 = int32_t;
using U64 = uint64_t;
using S64 = int64_t;

template <class T>
constexpr const char* type_name() {
    if constexpr (std::is_same_v<T, U16>)
        return "u16";
    else if constexpr (std::is_same_v<T, S16>)
        return "s16";
    else if constexpr (std::is_same_v<T, U32>)
        return "u32";
    else if constexpr (std::is_same_v<T, S32>)
        return "s32";
    else if constexpr (std::is_same_v<T, U64>)
        return "u64";
    else if constexpr (std::is_same_v<T, S64>)
        return "s64";
    else if constexpr (std::is_same_v<T, float>)
        return "f32";
    else if constexpr (std::is_same_v<T, double>)
        return "f64";
    else if constexpr (std::is_same_v<T, Half>)
        return "f16";
    else
        return "bf16";
}

// ---- handlers: what a function of one lane does to 32

#if defined(__clang__)
#define CONVGPU_LANES _Pragma("clang loop vectorize(assume_safety)") for (int l = 0; l < 32; ++l)
#else
#define CONVGPU_LANES _Pragma("GCC ivdep") for (int l = 0; l < 32; ++l)
#endif

// op: d, then the sources.
template <class F, class D, class... A>
struct Lanes {
    static void run(Warp& w, const Step& s, Mask lanes) { apply(w, s, lanes, std::index_sequence_for<A...>()); }

private:
    template <size_t... I>
    static void apply(Warp& w, const Step& s, Mask lanes, std::index_sequence<I...>) {
        loop(w.lanes<D>(s.op[0]), lanes, w.lanes<const A>(s.op[1 + I])...);
    }
    static void loop(D* d, Mask lanes, const A*... a) {
        if (lanes == kFull) {
            CONVGPU_LANES d[l] = F{}(a[l]...);
        } else {
            for (Mask rest = lanes; rest; rest &= rest - 1) {
                const int l = __builtin_ctz(rest);
                d[l] = F{}(a[l]...);
            }
        }
    }
};

// op: p, q or kNone, then the sources; p becomes what F says, and q the opposite.
template <class F, class... A>
struct Compare {
    static void run(Warp& w, const Step& s, Mask lanes) { apply(w, s, lanes, std::index_sequence_for<A...>()); }

private:
    template <size_t... I>
    static void apply(Warp& w, const Step& s, Mask lanes, std::index_sequence<I...>) {
        const Mask r = mask(w.lanes<const A>(s.op[2 + I])...);
        w.set_predicate(s.op[0], lanes, r);
        w.set_predicate(s.op[1], lanes, ~r);
    }
    static Mask mask(const A*... a) {
        Mask r = 0;
        CONVGPU_LANES r |= Mask(F{}(a[l]...)) << l;
        return r;
    }
};

template <class T>
constexpr uint32_t kBytes = sizeof(T);

using Build = void (*)(Builder&);

struct Form {
    std::string section;
    Handler run = nullptr;
    std::vector<uint32_t> bytes;  // of the operands
};

struct Family {
    std::string section;
    Build build = nullptr;
};

class Table {
public:
    static const Table& instance();

    // `section` of the manual has what follows.
    void section(const char* number) { section_ = number; }

    // NAME.TYPE d, a, ...: all operands of that type.
    template <class... Types, class F>
    void lanes(const std::string& name, F) {
        (add(name + "." + type_name<Types>(), arity_of<Types, F>()), ...);
    }
    // NAME d, a, ...: operands of types that are given.
    template <class D, class... A, class F>
    void typed(const std::string& name, F) {
        add(name, Form{section_, &Lanes<F, D, A...>::run, {kBytes<D>, kBytes<A>...}});
    }
    void add(const std::string& opcode, Form form) { forms_[opcode] = std::move(form); }
    void add(const std::string& opcode, Handler run, std::vector<uint32_t> bytes) {
        forms_[opcode] = Form{section_, run, std::move(bytes)};
    }
    // Instructions whose words begin with NAME are made by a function.
    void family(const std::string& name, Build build) { families_[name] = Family{section_, build}; }

    const Form* form(const std::string& opcode) const {
        const auto found = forms_.find(opcode);
        return found == forms_.end() ? nullptr : &found->second;
    }
    // The family with the most words of the opcode; `words` becomes their number.
    const Family* family(const std::vector<std::string>& opcode, size_t& words) const;
    // Section and name of everything, for whoever lists it.
    std::vector<std::pair<std::string, std::string>> names() const;

private:
    template <class T, class F>
    Form arity_of() const {
        if constexpr (std::is_invocable_v<F, T>)
            return {section_, &Lanes<F, T, T>::run, {kBytes<T>, kBytes<T>}};
        else if constexpr (std::is_invocable_v<F, T, T>)
            return {section_, &Lanes<F, T, T, T>::run, {kBytes<T>, kBytes<T>, kBytes<T>}};
        else
            return {section_, &Lanes<F, T, T, T, T>::run, {kBytes<T>, kBytes<T>, kBytes<T>, kBytes<T>}};
    }

    std::string section_;
    std::unordered_map<std::string, Form> forms_;
    std::unordered_map<std::string, Family> families_;
};

// One function for each part of section 9.7, in a file of instructions/ with that name.
void add_integer(Table& t);
void add_floating_point(Table& t);
void add_half(Table& t);
void add_comparison(Table& t);
void add_logic(Table& t);
void add_moves(Table& t);
void add_conversion(Table& t);
void add_memory(Table& t);
void add_atomics(Table& t);
void add_async_copy(Table& t);
void add_control_flow(Table& t);
void add_synchronization(Table& t);
void add_mbarrier(Table& t);
void add_bulk_copy(Table& t);
void add_wgmma(Table& t);
void add_warp(Table& t);
void add_matrix(Table& t);
void add_wmma(Table& t);
void add_miscellaneous(Table& t);

}  // namespace convgpu::ptx

// Answers calls of the CPU's kernels that come through a pipe: tests/served.py writes them and judges the results.
//
// So the kernels run on a machine that has no Python: the program is compiled for arm64 and run by an emulator. Each
// array lies against a page that must not be touched, and the bytes before it are compared after the call.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../csrc/cpu/conv.h"
#include "../../csrc/cpu/elementwise.h"
#include "../../csrc/cpu/gemm.h"
#include "../../csrc/cpu/isa.h"
#include "../../csrc/cpu/moves.h"
#include "../../csrc/cpu/norm.h"
#include "../../csrc/cpu/optim.h"
#include "../../csrc/cpu/pool.h"
#include "../../csrc/cpu/random.h"
#include "../../csrc/cpu/reduce.h"
#include "../../csrc/cpu/softmax.h"

using namespace convgpu;

namespace {

void read(void* to, size_t bytes) {
    if (bytes && std::fread(to, 1, bytes, stdin) != bytes) std::exit(0);  // the writer has ended
}
void write(const void* from, size_t bytes) { std::fwrite(from, 1, bytes, stdout); }
template <class T>
T read() {
    T value;
    read(&value, sizeof value);
    return value;
}
std::string read_text() {
    std::string text(read<uint32_t>(), ' ');
    read(text.data(), text.size());
    return text;
}
void write_text(const std::string& text) {
    const auto size = static_cast<uint32_t>(text.size());
    write(&size, sizeof size);
    write(text.data(), size);
}

// Calls use(offset in bytes) for every element of an array in row-major order.
template <class Use>
void each_element(const Array& array, Use use) {
    const int64_t count = array.size();
    Shape at(array.shape.size());
    int64_t offset = 0;
    for (int64_t i = 0; i < count; ++i) {
        use(offset);
        for (size_t a = at.size(); a-- > 0;) {
            offset += array.strides[a];
            if (++at[a] < array.shape[a]) break;
            offset -= at[a] * array.strides[a];
            at[a] = 0;
        }
    }
}

// An array with memory of its own: its last byte is the last before a page that must not be touched.
class Kept {
public:
    Kept() {
        array.dtype = dtype_of(read_text());
        array.shape.resize(read<uint32_t>());
        array.strides.resize(array.shape.size());
        read(array.shape.data(), 8 * array.shape.size());
        read(array.strides.data(), 8 * array.strides.size());
        int64_t first = 0, last = static_cast<int64_t>(size_of(array.dtype));
        for (size_t a = 0; a < array.shape.size() && array.size(); ++a) {
            const int64_t reach = (array.shape[a] - 1) * array.strides[a];
            (reach < 0 ? first : last) += reach;
        }
        const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), span = static_cast<size_t>(last - first);
        room_ = (span + page - 1) / page * page + page;
        memory_ =
            static_cast<char*>(mmap(nullptr, room_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (memory_ == MAP_FAILED || mprotect(memory_ + room_, page, PROT_NONE)) throw std::bad_alloc();
        bytes_ = room_ + page;
        std::memset(memory_, 0xff, room_);
        data_ = memory_ + room_ - span - first;
        array.data = data_;
        const size_t each = size_of(array.dtype);
        sent_.resize(array.size() * each);
        read(sent_.data(), sent_.size());
        size_t i = 0;
        each_element(array, [&](int64_t offset) { std::memcpy(data_ + offset, &sent_[each * i++], each); });
        before_.assign(memory_, memory_ + room_);
    }
    ~Kept() { munmap(memory_, bytes_); }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    // Answers with the elements, if the call has changed any. Bytes between elements must be as they were.
    void answer() {
        const size_t each = size_of(array.dtype);
        std::vector<char> now(sent_.size());
        size_t i = 0;
        each_element(array, [&](int64_t offset) {
            std::memcpy(&now[each * i++], data_ + offset, each);
            std::memcpy(&before_[data_ + offset - memory_], data_ + offset, each);
        });
        if (std::memcmp(before_.data(), memory_, room_)) std::abort();
        const char changed = now != sent_;
        write(&changed, 1);
        if (changed) write(now.data(), now.size());
    }

    Array array;

private:
    char *memory_, *data_;
    size_t room_, bytes_;
    std::vector<char> sent_, before_;
};

// An argument: an array, a number, a text, nothing, or a list of arguments.
struct Value {
    char kind = read<char>();
    int64_t integer = 0;
    double real = 0;
    std::string text;
    std::unique_ptr<Kept> kept;
    std::vector<Value> list;

    Value() {
        if (kind == 'i') integer = read<int64_t>(), real = static_cast<double>(integer);
        if (kind == 'd') real = read<double>();
        if (kind == 's') text = read_text();
        if (kind == 'a') kept = std::make_unique<Kept>();
        if (kind == 'l') list = std::vector<Value>(read<uint32_t>());
    }
    const Array& array() const { return kept->array; }
    const Array* maybe() const { return kept ? &kept->array : nullptr; }
    int number() const { return static_cast<int>(integer); }
    bool flag() const { return integer != 0; }
    std::vector<Array> arrays() const {
        std::vector<Array> found;
        for (const Value& value : list) found.push_back(value.array());
        return found;
    }
    std::vector<std::vector<Array>> lists() const {
        std::vector<std::vector<Array>> found;
        for (const Value& value : list) found.push_back(value.arrays());
        return found;
    }
    Shape shape() const {
        Shape found;
        for (const Value& value : list) found.push_back(value.integer);
        return found;
    }
    Shape side(int which) const {  // of pairs
        Shape found;
        for (const Value& value : list) found.push_back(value.list[which].integer);
        return found;
    }
    void answer() const {
        if (kept) kept->answer();
        for (const Value& value : list) value.answer();
    }
};
using Values = std::vector<Value>;

// Geometries come as the fields of convgpu.geometry's classes, in their order.
cpu::ConvProblem conv_geometry(const Value& value) {
    const Values& v = value.list;
    ConvGeometry geo{v[0].integer, v[1].integer, v[2].integer, v[3].shape(), v[4].shape(), v[5].shape(),
                     v[6].side(0), v[6].side(1), v[7].shape(), v[8].integer, v[9].flag(),  {}};
    geo.check();
    return cpu::ConvProblem(geo);
}
PoolGeometry pool_geometry(const Value& value) {
    const Values& v = value.list;
    PoolGeometry geo{v[0].integer, v[1].integer, v[2].shape(), v[3].shape(), v[4].shape(), v[5].side(0),
                     v[5].side(1), v[6].shape(), v[7].shape(), v[8].flag(),  v[9].flag(),  v[10].flag()};
    geo.check();
    return geo;
}
NormGeometry norm_geometry(const Value& value) {
    const Values& v = value.list;
    const NormGeometry geo{v[0].integer, v[1].integer, v[2].integer, v[3].integer, v[4].integer};
    geo.check();
    return geo;
}

cpu::StepLists step_lists(const Values& v) {
    return {v[0].arrays(), v[1].arrays(), v[3].arrays(), v[5].arrays(), v[2].lists(), v[4].lists()};
}
elementwise::Activated<double> activated(const Value& name, const Value& alpha, const Value& scale) {
    return {elementwise::function_of(name.text), alpha.real, scale.real};
}
cpu::Loss loss_of(const Values& v) { return {v[5].integer, v[6].real, cpu::loss_reduction_of(v[7].text)}; }

cpu::RandomState state_of(const Values& v) {
    return {static_cast<uint64_t>(v[1].integer), static_cast<uint64_t>(v[2].integer),
            static_cast<uint64_t>(v[3].integer)};
}

double result = 0;                    // of global_norm
std::map<std::string, double> named;  // keyword arguments

// The functions of convgpu._cpu, with its arguments in its order (csrc/cpu/bind).
const std::map<std::string, std::function<void(const Values&)>> kOps = {
    {"use_instruction_set", [](const Values& v) { cpu::use_instruction_set(v[0].text); }},
    {"conv_fprop",
     [](const Values& v) {
         cpu::conv_fprop(v[0].array(), v[1].array(), v[2].maybe(), v[3].array(), conv_geometry(v[4]),
                         activation_of(v[5].text), v[6].number());
     }},
    {"conv_dgrad",
     [](const Values& v) {
         cpu::conv_dgrad(v[0].array(), v[1].array(), v[2].maybe(), v[3].array(), conv_geometry(v[4]),
                         activation_of(v[5].text), v[6].number());
     }},
    {"conv_wgrad",
     [](const Values& v) {
         cpu::conv_wgrad(v[0].array(), v[1].array(), v[2].array(), conv_geometry(v[3]), v[4].number());
     }},
    {"channel_sum", [](const Values& v) { cpu::channel_sum(v[0].array(), v[1].array(), v[2].flag(), v[3].number()); }},
    {"activate",
     [](const Values& v) { cpu::activate(v[0].array(), v[1].array(), activated(v[2], v[3], v[4]), v[5].number()); }},
    {"activate_dgrad",
     [](const Values& v) {
         cpu::activate_dgrad(v[0].array(), v[1].array(), v[2].array(), activated(v[3], v[4], v[5]), v[6].number());
     }},
    {"add_n", [](const Values& v) { cpu::add_n(v[0].arrays(), v[1].array(), v[2].number()); }},
    {"binary",
     [](const Values& v) {
         cpu::binary(v[0].array(), v[1].array(), v[2].array(), elementwise::binary_function_of(v[3].text),
                     v[4].number());
     }},
    {"gemm",
     [](const Values& v) {
         cpu::gemm(v[0].array(), v[1].array(), v[2].maybe(), v[3].array(), v[4].real, v[5].real,
                   activation_of(v[6].text), v[7].number());
     }},
    {"swap_last_axes", [](const Values& v) { cpu::swap_last_axes(v[0].array(), v[1].array(), v[2].number()); }},
    {"norm_stats",
     [](const Values& v) {
         cpu::norm_stats(v[0].array(), v[3].array(), v[4].array(),
                         {v[1].maybe(), v[2].maybe(), v[5].maybe(), v[6].maybe(), v[9].real, v[10].integer},
                         norm_geometry(v[7]), v[8].real, v[11].number());
     }},
    {"norm_apply",
     [](const Values& v) {
         cpu::norm_apply(v[0].array(), v[1].array(), v[2].array(), v[3].maybe(), v[4].maybe(), v[5].maybe(),
                         v[6].array(), norm_geometry(v[7]), cpu::norm_activation_of(v[8].text), v[9].number());
     }},
    {"norm_infer",
     [](const Values& v) {
         cpu::norm_infer(v[0].array(), v[1].array(), v[2].array(), v[3].maybe(), v[4].maybe(), v[5].maybe(),
                         v[6].array(), norm_geometry(v[7]), cpu::norm_activation_of(v[8].text), v[9].real,
                         v[10].number());
     }},
    {"norm_dgrad",
     [](const Values& v) {
         cpu::norm_dgrad(v[0].array(), v[1].array(), v[2].array(), v[3].array(), v[4].maybe(), v[5].maybe(),
                         v[6].maybe(), {v[7].maybe(), v[8].maybe(), v[9].maybe(), v[10].maybe()}, norm_geometry(v[11]),
                         cpu::norm_activation_of(v[12].text), v[13].number());
     }},
    {"sgd_step",
     [](const Values& v) {
         cpu::sgd_step(step_lists(v),
                       {named.at("rate"), named.at("momentum"), named.at("weight_decay"), named.at("factor"),
                        named.at("nesterov") != 0, named.at("keras") != 0, named.at("clipped") != 0},
                       v[6].number());
     }},
    {"adam_step",
     [](const Values& v) {
         cpu::adam_step(
             step_lists(v),
             {named.at("beta1"), named.at("rest1"), named.at("beta2"), named.at("rest2"), named.at("epsilon"),
              named.at("weight_decay"), named.at("factor"), named.at("kept"), named.at("size"), named.at("per_root"),
              named.at("decoupled") != 0, named.at("keras") != 0, named.at("clipped") != 0},
             v[6].number());
     }},
    {"global_norm", [](const Values& v) { result = cpu::global_norm(v[0].arrays(), v[1].number()); }},
    {"cast_all",
     [](const Values& v) {
         cpu::cast_all(v[0].arrays(), v[1].arrays(), v[2].kind == 'n' ? nullptr : &v[2].real, v[3].number());
     }},
    {"max_pool",
     [](const Values& v) {
         cpu::max_pool(v[0].array(), v[1].array(), v[2].maybe(), pool_geometry(v[3]), v[4].number());
     }},
    {"max_pool_dgrad",
     [](const Values& v) {
         cpu::max_pool_dgrad(v[0].array(), v[1].array(), v[2].array(), pool_geometry(v[3]), v[4].number());
     }},
    {"max_pool_gather",
     [](const Values& v) {
         cpu::max_pool_gather(v[0].array(), v[1].array(), v[2].array(), pool_geometry(v[3]), v[4].number());
     }},
    {"max_pool_indices",
     [](const Values& v) { cpu::max_pool_indices(v[0].array(), v[1].array(), pool_geometry(v[2]), v[3].number()); }},
    {"avg_pool",
     [](const Values& v) { cpu::avg_pool(v[0].array(), v[1].array(), pool_geometry(v[2]), v[3].number()); }},
    {"avg_pool_dgrad",
     [](const Values& v) { cpu::avg_pool_dgrad(v[0].array(), v[1].array(), pool_geometry(v[2]), v[3].number()); }},
    {"lp_pool",
     [](const Values& v) { cpu::lp_pool(v[0].array(), v[1].array(), pool_geometry(v[2]), v[3].real, v[4].number()); }},
    {"lp_pool_dgrad",
     [](const Values& v) {
         cpu::lp_pool_dgrad(v[0].array(), v[1].array(), v[2].array(), v[3].array(), pool_geometry(v[4]), v[5].real,
                            v[6].flag(), v[7].number());
     }},
    {"lp_pool_gather",
     [](const Values& v) {
         cpu::lp_pool_gather(v[0].array(), v[1].array(), v[2].array(), v[3].array(), pool_geometry(v[4]), v[5].real,
                             v[6].flag(), v[7].number());
     }},
    {"dropout",
     [](const Values& v) {
         cpu::dropout(v[0].array(), v[1].array(),
                      {static_cast<uint64_t>(v[2].integer), static_cast<uint64_t>(v[3].integer),
                       static_cast<uint64_t>(v[4].integer)},
                      static_cast<uint32_t>(v[5].integer), v[6].real, v[7].number());
     }},
    {"uniform", [](const Values& v) { cpu::uniform(v[0].array(), state_of(v), v[4].real, v[5].real, v[6].number()); }},
    {"normal", [](const Values& v) { cpu::normal(v[0].array(), state_of(v), v[4].real, v[5].real, v[6].number()); }},
    {"integers",
     [](const Values& v) {
         cpu::integers(v[0].array(), state_of(v), static_cast<uint64_t>(v[4].integer),
                       static_cast<uint64_t>(v[5].integer), v[6].number());
     }},
    {"reduce",
     [](const Values& v) { cpu::reduce(v[0].array(), v[1].array(), cpu::reduction_of(v[2].text), v[3].number()); }},
    {"softmax",
     [](const Values& v) { cpu::softmax(v[0].array(), v[1].array(), v[2].integer, v[3].flag(), v[4].number()); }},
    {"softmax_dgrad",
     [](const Values& v) {
         cpu::softmax_dgrad(v[0].array(), v[1].array(), v[2].array(), v[3].integer, v[4].flag(), v[5].number());
     }},
    {"cross_entropy",
     [](const Values& v) {
         cpu::cross_entropy(v[0].array(), v[1].array(), v[2].array(), v[3].array(), v[4].array(), loss_of(v),
                            v[8].number());
     }},
    {"cross_entropy_dgrad",
     [](const Values& v) {
         cpu::cross_entropy_dgrad(v[0].array(), v[1].array(), v[2].array(), v[3].array(), v[4].array(), loss_of(v),
                                  v[8].number());
     }},
};

}  // namespace

int main() {
    for (;;) {
        const std::string name = read_text();
        const Values values(read<uint32_t>());
        named.clear();
        for (uint32_t i = read<uint32_t>(); i > 0; --i) {
            const std::string keyword = read_text();
            named[keyword] = read<double>();
        }
        std::string error;
        try {
            kOps.at(name)(values);
        } catch (const std::exception& e) {
            error = name + ": " + e.what();
        }
        write_text(error);
        write(&result, sizeof result);
        for (const Value& value : values) value.answer();
        std::fflush(stdout);
    }
}

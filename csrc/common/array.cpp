#include "array.h"

#include <iterator>

#include "error.h"

namespace convgpu {
namespace {

struct Named {
    const char* name;
    size_t size;
};
// The names stand in the order of DType.
constexpr Named kDTypes[] = {{"float16", 2}, {"bfloat16", 2}, {"float32", 4}, {"float64", 8}, {"uint8", 1},
                             {"uint16", 2},  {"int32", 4},    {"int64", 8},   {"uint32", 4},  {"uint64", 8}};

}  // namespace

size_t size_of(DType dtype) { return kDTypes[static_cast<int>(dtype)].size; }
const char* name_of(DType dtype) { return kDTypes[static_cast<int>(dtype)].name; }

DType dtype_of(const std::string& name) {
    for (size_t i = 0; i < std::size(kDTypes); ++i) {
        if (name == kDTypes[i].name) return static_cast<DType>(i);
    }
    std::string known;
    for (const Named& d : kDTypes) known += (known.empty() ? "" : ", ") + std::string(d.name);
    throw TypeError("expected a dtype of " + known + ", got " + name);
}

int64_t Array::size() const {
    int64_t product = 1;
    for (const int64_t n : shape) product *= n;
    return product;
}

std::string text_of(const Shape& shape) {
    std::string text = "(";
    for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (shape.size() == 1 ? ",)" : ")");
}

}  // namespace convgpu

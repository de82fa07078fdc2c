#include "table.h"

#include <algorithm>

namespace convgpu::ptx {

const Table& Table::instance() {
    static const Table table = [] {
        Table t;
        add_integer(t);
        add_floating_point(t);
        add_half(t);
        add_comparison(t);
        add_logic(t);
        add_moves(t);
        add_conversion(t);
        add_memory(t);
        add_async_copy(t);
        add_control_flow(t);
        add_synchronization(t);
        add_atomics(t);
        add_mbarrier(t);
        add_bulk_copy(t);
        add_wgmma(t);
        add_warp(t);
        add_matrix(t);
        add_wmma(t);
        add_miscellaneous(t);
        return t;
    }();
    return table;
}

const Family* Table::family(const std::vector<std::string>& opcode, size_t& words) const {
    for (words = std::min<size_t>(opcode.size(), 4); words; --words) {
        std::string name = opcode[0];
        for (size_t k = 1; k < words; ++k) name += "." + opcode[k];
        const auto found = families_.find(name);
        if (found != families_.end()) return &found->second;
    }
    return nullptr;
}

std::vector<std::pair<std::string, std::string>> Table::names() const {
    std::vector<std::pair<std::string, std::string>> list;
    for (const auto& [name, form] : forms_) list.emplace_back(form.section, name);
    for (const auto& [name, family] : families_) list.emplace_back(family.section, name);
    std::sort(list.begin(), list.end());
    return list;
}

}  // namespace convgpu::ptx

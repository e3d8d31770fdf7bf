// SPDX-License-Identifier: Apache-2.0
#include "models/hf_items.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/sites.h"

namespace edgeq {
namespace {

class ItemList {
 public:
  ItemList(const CodedModel& model, const HfOptions& options) : model_(model), options_(options) {}

  std::vector<HfItem> run() {
    for (const SiteShape& site : all_sites(model_.config())) {
      add({.weight = true, .table = site.name == "embedding"}, site.name,
          hf_form(options_, site.name, model_.form(site.name)));
    }
    for (const VectorShape& vector : all_vectors(model_.config())) {
      const int64_t cols = vector.cols == 0 ? 1 : vector.cols;
      add({.vector = vector.cols == 0}, vector.name,
          {.scheme = {}, .dtype = DType::f32, .rows = vector.size / cols, .cols = cols});
    }
    return std::move(items_);
  }

 private:
  void add(HfItem item, const std::string& name, WeightForm form) {
    const Placement place = placement(model_.config(), name, form.rows, Naming::hf);
    if (name == "head" && place.name != "lm_head.weight" && form.scheme) {
      // transformers 5 renames such a head, but not its codes.
      form.scheme.reset();
      form.dtype = options_.dtype;
    }
    const auto fused = std::ranges::find(items_, place.name, &HfItem::name);
    if (fused == items_.end()) {
      form.rows = place.total_rows;
      item.name = place.name;
      item.form = form;
      item.members.push_back({name, place});
      items_.push_back(std::move(item));
      return;
    }
    const WeightForm& first = fused->form;
    if (first.scheme != form.scheme || first.dtype != form.dtype)
      throw Error(fmt::format("{} is {} and {} is {}; in Hugging Face folders both are {}",
                              fused->members[0].name, form_text(first), name, form_text(form), place.name));
    fused->members.push_back({name, place});
  }

  const CodedModel& model_;
  const HfOptions& options_;
  std::vector<HfItem> items_;
};

// Where each stored row lies among the rows of the members, one behind the other.
std::vector<int64_t> stored_order(const HfItem& item, const std::vector<int64_t>& member_rows) {
  std::vector<int64_t> order(size_t(item.form.rows));
  int64_t first = 0;
  for (size_t m = 0; m < item.members.size(); ++m) {
    for (int64_t r = 0; r < member_rows[m]; ++r)
      order[size_t(item.members[m].place.stored_row(r))] = first + r;
    first += member_rows[m];
  }
  EDGEQ_CHECK(first == item.form.rows, "the members make up the stored tensor");
  return order;
}

Tensor member_floats(const CodedModel& model, const HfItem& item, const HfMember& member) {
  if (!item.weight) return model.vector(member.name);
  const CodedWeight weight = model.weight(member.name);
  return dequantize(weight, 0, weight.rows());
}

}  // namespace

bool HfItem::plain() const {
  const Placement& place = members[0].place;
  return members.size() == 1 && !place.reordered() && !place.transposed && place.offset == 0;
}

Shape HfItem::shape() const {
  if (vector) return {form.rows};
  if (members[0].place.transposed) return {form.cols, form.rows};
  return {form.rows, form.cols};
}

std::vector<HfItem> hf_items(const CodedModel& model, const HfOptions& options) {
  return ItemList(model, options).run();
}

QuantizedTensor hf_codes(const CodedModel& model, const HfItem& item) {
  QuantizedTensor all = *model.weight(item.members[0].name).codes;
  std::vector<int64_t> rows = {all.rows};
  for (size_t m = 1; m < item.members.size(); ++m) {
    const QuantizedTensor more = *model.weight(item.members[m].name).codes;
    for_each_array([&](std::string_view, auto array) {
      (all.*array).insert((all.*array).end(), (more.*array).begin(), (more.*array).end());
    });
    all.rows += more.rows;
    rows.push_back(more.rows);
  }
  return item.plain() ? all : select_rows(all, stored_order(item, rows));
}

Tensor hf_floats(const CodedModel& model, const HfItem& item) {
  Tensor stored(DType::f32, {item.form.rows, item.form.cols});
  for (const HfMember& member : item.members) {
    const Tensor values = member_floats(model, item, member);
    const int64_t rows = values.size() / item.form.cols;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < item.form.cols; ++c)
        stored.matrix()(member.place.stored_row(r), c) =
            values.f32()[r * item.form.cols + c] - member.place.offset;
  }
  if (!item.members[0].place.transposed) return stored;
  Tensor transposed(DType::f32, {item.form.cols, item.form.rows});
  for (int64_t r = 0; r < item.form.rows; ++r)
    for (int64_t c = 0; c < item.form.cols; ++c) transposed.matrix()(c, r) = stored.matrix()(r, c);
  return transposed;
}

}  // namespace edgeq

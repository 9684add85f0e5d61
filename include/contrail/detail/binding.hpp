// SPDX-License-Identifier: MIT
// Binds call sites and registered types to short ids inside the image: at a site's first hit its descriptor is copied
// into the image, so that neither dlclose nor the end of the process can make a record unreadable.
#ifndef CONTRAIL_DETAIL_BINDING_HPP
#define CONTRAIL_DETAIL_BINDING_HPP

#include "contrail/detail/process.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

inline constexpr uint32_t longest_name_bytes = 1023;  ///< longer strings of a descriptor are cut
inline constexpr uint32_t most_fields = 512;
inline constexpr uint32_t most_enumerators = 4096;

/// Where a serialised binding goes: counted, compared with bytes, or written. One pass of `serialise` serves all three,
/// so that what is hashed, compared and stored cannot differ.
class binding_output {
 public:
  binding_output() = default;
  explicit binding_output(char* to) : to_(to) {}
  static binding_output comparing(const char* with) {
    binding_output output;
    output.with_ = with;
    return output;
  }

  void add(const void* bytes, size_t size) {
    const char* from = static_cast<const char*>(bytes);
    for (size_t i = 0; i < size; ++i) {
      hash_ = (hash_ ^ static_cast<uint8_t>(from[i])) * 0x100'0000'01b3ULL;  // FNV-1a
      if (to_ != nullptr) to_[size_ + i] = from[i];
      // An entry's length and id, its first 6 bytes, are no part of its content.
      if (with_ != nullptr && size_ + i >= 6 && with_[size_ + i] != from[i]) equal_ = false;
    }
    size_ += size;
  }

  uint64_t hash() const { return hash_; }
  size_t size() const { return size_; }
  bool equal() const { return equal_; }

 private:
  char* to_ = nullptr;
  const char* with_ = nullptr;
  size_t size_ = 0;
  uint64_t hash_ = 0xcbf2'9ce4'8422'2325ULL;
  bool equal_ = true;
};

inline uint16_t cut_size(const text& name, uint8_t& flags) {
  if (name.size <= longest_name_bytes) return static_cast<uint16_t>(name.size);
  flags |= binding_flag_cut;
  return longest_name_bytes;
}

/// Writes a binding as image.hpp specifies it, without its length and id (both 0).
inline void serialise(const descriptor& what, binding_output& output) {
  binding entry{};
  entry.kind = what.kind;
  entry.flags = what.flags;
  entry.type_id = what.type_id;
  entry.line = what.line;
  entry.field_count = what.field_count < most_fields ? what.field_count : most_fields;
  if (entry.field_count != what.field_count) entry.flags |= binding_flag_cut;
  uint32_t enumerators = 0;
  for (unsigned i = 0; i < entry.field_count; ++i) enumerators += what.fields[i].enumerator_count;
  const bool with_enumerators = enumerators <= most_enumerators;
  entry.enumerator_count = static_cast<uint16_t>(with_enumerators ? enumerators : 0);
  entry.name_bytes = cut_size(what.name, entry.flags);
  entry.category_bytes = cut_size(what.category, entry.flags);
  entry.file_bytes = cut_size(what.file, entry.flags);
  entry.function_bytes = cut_size(what.function, entry.flags);
  output.add(&entry, sizeof entry);

  uint8_t ignored = 0;
  uint16_t first = 0;
  for (unsigned i = 0; i < entry.field_count; ++i) {
    const field& from = what.fields[i];
    binding_field to{};
    to.name_bytes = cut_size(from.name, ignored);
    to.type = static_cast<uint8_t>(from.type);
    to.offset = from.offset;
    to.count = from.count;
    to.is_array = from.is_array;
    to.first_enumerator = first;
    to.enumerator_count = with_enumerators ? from.enumerator_count : 0;
    first = static_cast<uint16_t>(first + to.enumerator_count);
    output.add(&to, sizeof to);
  }
  if (with_enumerators) {
    for (unsigned i = 0; i < entry.field_count; ++i) {
      for (unsigned k = 0; k < what.fields[i].enumerator_count; ++k) {
        binding_enumerator to{};
        to.value = what.fields[i].enumerators[k].value;
        to.name_bytes = cut_size(what.fields[i].enumerators[k].name, ignored);
        output.add(&to, sizeof to);
      }
    }
  }
  output.add(what.name.data, entry.name_bytes);
  output.add(what.category.data, entry.category_bytes);
  output.add(what.file.data, entry.file_bytes);
  output.add(what.function.data, entry.function_bytes);
  for (unsigned i = 0; i < entry.field_count; ++i) {
    output.add(what.fields[i].name.data, cut_size(what.fields[i].name, ignored));
  }
  if (with_enumerators) {
    for (unsigned i = 0; i < entry.field_count; ++i) {
      for (unsigned k = 0; k < what.fields[i].enumerator_count; ++k) {
        const text& name = what.fields[i].enumerators[k].name;
        output.add(name.data, cut_size(name, ignored));
      }
    }
  }
  constexpr char zeros[8] = {};
  output.add(zeros, (8 - output.size() % 8) % 8);
}

/// A published binding, or null.
inline const binding* binding_of(const image_view& image, uint64_t id) {
  const uint64_t index = id == overflow_id ? 0 : id;
  if (index > image.id_count) return nullptr;
  // Acquire pairs with the release in publish_binding: the entry is whole before its offset can be seen.
  const uint32_t offset = __atomic_load_n(&image.binding_index[index], __ATOMIC_ACQUIRE);
  return offset == 0 ? nullptr : reinterpret_cast<const binding*>(image.arena + (offset - 1));
}

/// Stores a binding under an id of its own; 0 when ids or space ran out.
inline uint64_t publish_binding(image_view& image, const descriptor& what, size_t bytes, uint64_t id) {
  superblock& super = *image.super;
  const uint64_t at = super.arena_used.fetch_add_relaxed(bytes);
  if (at + bytes > image.arena_bytes) return 0;
  if (id == 0) id = super.next_id.fetch_add_relaxed(1);
  if (id != overflow_id && (id > image.id_count || id > max_id)) return 0;
  binding_output output(image.arena + at);
  serialise(what, output);
  binding& entry = *reinterpret_cast<binding*>(image.arena + at);
  entry.bytes = static_cast<uint32_t>(bytes);
  entry.id = static_cast<uint16_t>(id);
  __atomic_store_n(&image.binding_index[id == overflow_id ? 0 : id], static_cast<uint32_t>(at + 1), __ATOMIC_RELEASE);
  return id;
}

/// The id of a descriptor's content in this image, the same for equal descriptors, so that a library which is opened
/// and closed in a loop does not use ids up. Two threads that bind the same content at the same time may both publish
/// it, under two ids; readers merge them. Nobody waits.
// Async-signal-safe.
inline uint64_t bind(image_view& image, const descriptor& what) {
  binding_output content;
  serialise(what, content);
  const uint64_t mask = image.hash_count - 1;
  // The low 16 bits of an entry are the id; a hash of 0 would look like a free entry.
  const uint64_t hash = (content.hash() & ~0xffffULL) | 0x10000;
  uint64_t place = (content.hash() >> 16) & mask;
  uint64_t id = 0;
  for (uint64_t probes = 0; probes < image.hash_count; ++probes, place = (place + 1) & mask) {
    uint64_t found = image.binding_hashes[place].load_acquire();
    if (found == 0) {
      if (id == 0) id = publish_binding(image, what, content.size(), 0);
      if (id == 0) return overflow_id;
      if (image.binding_hashes[place].compare_exchange(found, hash | id)) return id;
    }
    if ((found & ~0xffffULL) != hash) continue;
    const binding* entry = binding_of(image, found & 0xffff);
    if (entry == nullptr || entry->bytes != content.size()) continue;
    binding_output compare = binding_output::comparing(reinterpret_cast<const char*>(entry));
    serialise(what, compare);
    if (compare.equal()) return found & 0xffff;
  }
  return id != 0 ? id : overflow_id;
}

/// The word of a site bound to `id`: what its records carry in their low 18 bits.
inline uint64_t site_word(const descriptor& what, uint64_t id) {
  if (what.kind != binding_kind::region) return id << id_shift | static_cast<uint64_t>(record_tag::point);
  const bool has_payload = what.field_count != 0 || (what.flags & binding_flag_dynamic) != 0;
  if (!has_payload) return id << id_shift | static_cast<uint64_t>(record_tag::region);
  if (id > max_payload_region_id) return id << id_shift | static_cast<uint64_t>(record_tag::long_form);
  return id << payload_region_id_shift | static_cast<uint64_t>(record_tag::region_payload);
}

/// The id in a site's word.
inline uint64_t id_of_site_word(uint64_t word) {
  return (word & 3) == static_cast<uint64_t>(record_tag::region_payload) ? word >> payload_region_id_shift
                                                                          : word >> id_shift;
}

/// Binds all registered types of an object, so that every dump lists them, also those that never fired.
inline void bind_types(image_view& image, const type_range& types) {
  for (const descriptor* const* type = types.begin; type != types.end; ++type) {
    if (*type != nullptr) bind(image, **type);
  }
}

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif

//! Lists that nearly always have one element or none, and may have hundreds: of fulfilments, holds, steps.

/// Adds one at the end. [`Vec::push`] makes room for four at once, which of orders that wait in memory for weeks stays empty; this makes room
/// for one, and of long lists for a quarter more, so that the elements are still moved only so often.
pub fn add<T>(list: &mut Vec<T>, element: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
    list.push(element);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_one_has_room_for_one_and_a_long_one_is_seldom_moved() {
        let (mut list, mut moves) = (Vec::new(), 0);
        for element in 0..1_000_u64 {
            let before = list.capacity();
            add(&mut list, element);
            moves += usize::from(list.capacity() != before);
            assert!(list.capacity() <= list.len() + list.len() / 4 + 1);
            if element == 0 {
                assert_eq!(list.capacity(), 1);
            }
        }
        assert_eq!(list, (0..1_000).collect::<Vec<_>>());
        assert!(moves < 40, "{moves}");
    }
}

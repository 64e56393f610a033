//! Spares: who takes a seat that is lost.

use super::*;

fn spare(seats: &mut Seats, number: u32) -> Serial {
    let start = 1000 + u64::from(number);
    seats.up(&SlotName::Spare(number), 1, &place(start), true, start)
}

#[test]
fn a_spare_takes_a_seat_that_is_lost() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 4);
    let (one, two) = (spare(&mut seats, 1), spare(&mut seats, 2));
    assert_eq!(seats.route(&name("a")), Some(Route::To(first)), "spares serve nobody");
    seats.down(&place(4));
    assert_eq!(seats.route(&name("a")), Some(Route::To(one)));
    assert_eq!(seats.located(&place(1001)), Some((SlotName::Shared, 5)));
    seats.down(&place(1001));
    assert_eq!(seats.route(&name("a")), Some(Route::To(two)));
    seats.down(&place(1002));
    assert_eq!(seats.route(&name("a")), Some(Route::Empty));
}

#[test]
fn a_spare_is_told_first_what_hosts_had_told() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    prime(&mut seats, first, "a", 7);
    let one = spare(&mut seats, 1);
    assert_eq!(seats.take_orders(), [], "a spare is told nothing before it is needed");
    seats.down(&place(1));
    assert_eq!(seats.take_orders(), [Order::Tell(one, name("a"))]);
    assert_eq!(seats.route(&name("a")), Some(Route::Telling));
    assert_eq!(tell(&mut seats, one, "a", &Ok(()), NOW), 1);
    assert_eq!(seats.route(&name("a")), Some(Route::To(one)));
}

#[test]
fn a_container_that_comes_back_does_not_take_its_seat_from_the_spare() {
    let mut seats = seats(&["a"]);
    let first = up(&mut seats, 1);
    let one = spare(&mut seats, 1);
    seats.line_begun(first);
    seats.down(&place(1));
    assert_eq!(up(&mut seats, 1), first);
    assert_eq!(seats.route(&name("a")), Some(Route::To(one)));
    assert_eq!(seats.sight(&place(1)), ServiceSight::Draining);
}

#[test]
fn a_promoted_spare_stays_where_it_is_when_its_conversation_is_made_again() {
    let mut seats = seats(&["a"]);
    up(&mut seats, 1);
    let one = spare(&mut seats, 1);
    seats.down(&place(1));
    seats.down(&place(1001));
    assert_eq!(spare(&mut seats, 1), one);
    assert_eq!(seats.route(&name("a")), Some(Route::To(one)));
}

#[test]
fn a_container_that_is_withdrawn_is_not_replaced_by_a_spare() {
    let mut seats = seats(&["a"]);
    up(&mut seats, 1);
    spare(&mut seats, 1);
    seats.withdraw(&place(1));
    seats.down(&place(1));
    assert_eq!(seats.route(&name("a")), Some(Route::Empty), "an update is under way");
}

#[test]
fn a_spare_is_promoted_once() {
    let mut seats = seats(&["a"]);
    up(&mut seats, 1);
    let one = spare(&mut seats, 1);
    seats.down(&place(1));
    seats.promote(&place(1001), &SlotName::Shared, 2);
    assert_eq!(seats.located(&place(1001)), Some((SlotName::Shared, 2)));
    assert_eq!(seats.route(&name("a")), Some(Route::To(one)));
}

//! Who is wired to whom, as data. Every pair of nodes talks, but a message travels along the links, and takes their delays and
//! their losses: a star's leaves hear each other through its centre.

use crate::plan::text;
use crate::random::{MILLION, Stream};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The shape of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Every pair has a link.
    Mesh,
    /// All have a link to the first.
    Star,
    /// Each has links to the next and the one before.
    Ring,
    /// Node k has a link to node ⌊(k−1)/2⌋.
    Tree,
    /// A tree drawn at random, with some more links.
    Random,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The sender's index.
    pub from: usize,
    /// The receiver's index.
    pub to: usize,
    /// The mean delay.
    pub delay: Duration,
    /// How many of a million messages it loses.
    pub loss_ppm: u64,
}

/// A shape, and how its links are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The shape.
    pub shape: Shape,
    /// Each direction of a link is between one and so many times as slow as the plan's mean delay.
    #[serde(default = "alike")]
    pub slowest: u32,
    /// How many of a million links lose messages.
    #[serde(default, rename = "lossy_links", with = "text::rate")]
    pub lossy_ppm: u64,
    /// How many of a million messages a lossy link loses at most.
    #[serde(default, rename = "loss", with = "text::rate")]
    pub loss_ppm: u64,
}

const fn alike() -> u32 {
    1
}

/// The way from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The mean delay of the whole way.
    pub delay: Duration,
    /// How many of a million messages are lost on it.
    pub loss_ppm: u64,
    /// How many links it has.
    pub hops: u32,
}

impl Topology {
    pub(crate) fn draw(choices: &mut Stream) -> Self {
        let shapes = [Shape::Mesh, Shape::Star, Shape::Ring, Shape::Tree, Shape::Random];
        Self {
            shape: choices.pick(&shapes).copied().unwrap_or(Shape::Mesh),
            slowest: if choices.chance(MILLION / 2) { 1 } else { 2 },
            lossy_ppm: choices.below(MILLION / 2),
            loss_ppm: choices.between(1_000, 100_000),
        }
    }

    /// The links between `nodes` nodes, both directions of each.
    #[must_use]
    pub fn links(&self, nodes: usize, delay: Duration, choices: &mut Stream) -> Vec<Link> {
        let pairs: Vec<(usize, usize)> = match self.shape {
            Shape::Mesh => (0..nodes).flat_map(|to| (0..to).map(move |from| (from, to))).collect(),
            Shape::Star => (1..nodes).map(|to| (0, to)).collect(),
            Shape::Ring if nodes < 3 => (1..nodes).map(|to| (0, to)).collect(),
            Shape::Ring => (0..nodes).map(|from| (from, (from + 1) % nodes)).collect(),
            Shape::Tree => (1..nodes).map(|to| ((to - 1) / 2, to)).collect(),
            Shape::Random => {
                let mut pairs: Vec<(usize, usize)> = (1..nodes).map(|to| (choices.index(to), to)).collect();
                for to in 0..nodes {
                    for from in 0..to {
                        if !pairs.contains(&(from, to)) && choices.chance(MILLION / 5) {
                            pairs.push((from, to));
                        }
                    }
                }
                pairs
            }
        };
        pairs
            .into_iter()
            .flat_map(|(from, to)| [(from, to), (to, from)])
            .map(|(from, to)| Link {
                from,
                to,
                delay: choices.span(delay, delay * self.slowest.max(1)),
                loss_ppm: if choices.chance(self.lossy_ppm) { choices.below(self.loss_ppm) } else { 0 },
            })
            .collect()
    }

    /// The longest way that a message between `nodes` nodes may have to go, as a multiple of the mean delay.
    #[must_use]
    pub fn longest(&self, nodes: usize, delay: Duration) -> Duration {
        let spare = u32::try_from(nodes.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
        let hops = match self.shape {
            Shape::Mesh => 1,
            Shape::Star => 2.min(spare),
            Shape::Ring => spare.div_ceil(2),
            Shape::Tree | Shape::Random => spare,
        };
        delay * hops * self.slowest.max(1)
    }
}

/// The fastest way from each node (row) to each other (column); `None` where there is no way (Floyd and Warshall).
#[must_use]
pub fn routes(nodes: usize, links: &[Link]) -> Vec<Option<Route>> {
    let mut ways: Vec<Option<Route>> = vec![None; nodes * nodes];
    let itself = Route { delay: Duration::ZERO, loss_ppm: 0, hops: 0 };
    for node in 0..nodes {
        offer(&mut ways, node * nodes + node, itself);
    }
    for link in links.iter().filter(|link| link.from < nodes && link.to < nodes) {
        let route = Route { delay: link.delay, loss_ppm: link.loss_ppm.min(MILLION), hops: 1 };
        offer(&mut ways, link.from * nodes + link.to, route);
    }
    let way = |ways: &[Option<Route>], from: usize, to: usize| ways.get(from * nodes + to).copied().flatten();
    for via in 0..nodes {
        for from in 0..nodes {
            for to in 0..nodes {
                if let (Some(first), Some(second)) = (way(&ways, from, via), way(&ways, via, to)) {
                    offer(&mut ways, from * nodes + to, first.then(second));
                }
            }
        }
    }
    ways
}

fn offer(ways: &mut [Option<Route>], place: usize, route: Route) {
    if let Some(way) = ways.get_mut(place)
        && way.is_none_or(|known| (route.delay, route.hops) < (known.delay, known.hops))
    {
        *way = Some(route);
    }
}

impl Route {
    const fn then(self, next: Self) -> Self {
        let passes = (MILLION - self.loss_ppm) * (MILLION - next.loss_ppm) / MILLION;
        Self {
            delay: self.delay.saturating_add(next.delay),
            loss_ppm: MILLION - passes,
            hops: self.hops.saturating_add(next.hops),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(2);

    fn topology(shape: Shape) -> Topology {
        Topology { shape, slowest: 2, lossy_ppm: MILLION, loss_ppm: 100_000 }
    }

    #[test]
    fn every_shape_connects_all_nodes_within_its_longest_way() {
        for shape in [Shape::Mesh, Shape::Star, Shape::Ring, Shape::Tree, Shape::Random] {
            for nodes in 1..8 {
                let topology = topology(shape);
                let links = topology.links(nodes, DELAY, &mut Stream::derive(nodes as u64, "links"));
                let ways = routes(nodes, &links);
                assert_eq!(ways.len(), nodes * nodes);
                for way in ways {
                    let way = way.expect("a way");
                    assert!(way.delay <= topology.longest(nodes, DELAY), "{shape:?} of {nodes}: {way:?}");
                    assert!(way.loss_ppm <= 100_000 * u64::from(way.hops));
                }
            }
        }
    }

    #[test]
    fn leaves_of_a_star_hear_each_other_through_its_centre() {
        let links = topology(Shape::Star).links(4, DELAY, &mut Stream::derive(1, "links"));
        let ways = routes(4, &links);
        let hops: Vec<u32> = ways.iter().flatten().map(|way| way.hops).collect();
        assert_eq!(hops, [0, 1, 1, 1, 1, 0, 2, 2, 1, 2, 0, 2, 1, 2, 2, 0]);
    }

    #[test]
    fn links_are_taken_as_they_are_and_leave_gaps() {
        let link = Link { from: 0, to: 1, delay: DELAY, loss_ppm: MILLION };
        let ways = routes(3, &[link, Link { from: 9, ..link }]);
        assert_eq!(ways.get(1).copied().flatten().map(|way| way.loss_ppm), Some(MILLION));
        assert_eq!(ways.get(3), Some(&None), "there is no way back");
    }

    /// How many links each node has, and the longest of all shortest ways.
    fn degrees_and_diameter(shape: Shape, nodes: usize) -> (Vec<usize>, u32) {
        // All links are as fast, so that the quickest way is the one with the fewest links.
        let topology = Topology { slowest: 1, ..topology(shape) };
        let links = topology.links(nodes, DELAY, &mut Stream::derive(1, "links"));
        let degree = |node| links.iter().filter(|link| link.from == node).count();
        let diameter = routes(nodes, &links).into_iter().map(|way| way.expect("a way").hops).max();
        ((0..nodes).map(degree).collect(), diameter.expect("a node"))
    }

    #[test]
    fn each_shape_has_its_degrees_and_its_diameter() {
        for nodes in 3..10 {
            let hops = |count: usize| u32::try_from(count).unwrap();
            assert_eq!(degrees_and_diameter(Shape::Mesh, nodes), (vec![nodes - 1; nodes], 1));
            assert_eq!(degrees_and_diameter(Shape::Ring, nodes), (vec![2; nodes], hops(nodes / 2)));
            let (degrees, diameter) = degrees_and_diameter(Shape::Star, nodes);
            assert_eq!((degrees.first(), diameter), (Some(&(nodes - 1)), 2));
            assert!(degrees.iter().skip(1).all(|&degree| degree == 1), "{degrees:?}");
            let (degrees, _) = degrees_and_diameter(Shape::Tree, nodes);
            assert_eq!(degrees.iter().sum::<usize>(), 2 * (nodes - 1), "a tree has one link less than nodes");
            assert!(degrees.iter().all(|&degree| degree <= 3), "one parent and two children: {degrees:?}");
            let (degrees, diameter) = degrees_and_diameter(Shape::Random, nodes);
            assert!(degrees.iter().sum::<usize>() >= 2 * (nodes - 1) && diameter < hops(nodes));
        }
        assert_eq!(degrees_and_diameter(Shape::Tree, 7), (vec![2, 3, 3, 1, 1, 1, 1], 4));
    }
}

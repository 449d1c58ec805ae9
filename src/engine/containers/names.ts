/** Names for containers that were given none: an adjective and somebody of the trade. */

import type { Random } from "#base/ports.ts";

const ADJECTIVES = `
able agile alert amber ample awake balmy blithe bold brave breezy bright brisk calm candid careful
cheerful civil clever cosy crisp curious daring deft devoted eager earnest easy even fair faithful
fleet fond frank fresh gallant gentle giving glad golden grand happy hardy hearty honest humble
jolly keen kind lively loyal lucid lucky mellow merry mighty mindful modest neat nimble noble patient
placid plucky polite proud quick quiet ready rested robust serene sharp shiny silent sincere smart
snug sober solid spry steady stoic sturdy sunny sweet swift tender thrifty tidy trusty upbeat valiant
vivid warm wise witty zealous zesty
`;

const SURNAMES = `
allen babbage backus bartik berners boole brooks cerf chandy chomsky church codd conway cray curie
dahl darwin diffie dijkstra einstein engelbart euler faraday fermi feynman floyd franklin gauss goedel
goldberg gosling gray haber hamilton hamming hawking hellman hertz hilbert hoare holberton hopper
huffman johnson kahn kay keller kepler kernighan kleene knuth lamarr lamport lampson leibniz liskov
lovelace lynch maxwell mcnulty meitner metcalfe milner minsky moore naur needham neumann newton
noether nygaard perlis perlman pike planck postel rabin ritchie rivest scott shannon shamir simon
spence stallman steele sutherland tanenbaum tarjan tesla thompson torvalds turing ullman volta wiener
wilkes wirth wozniak yao zuse
`;

const adjectives = ADJECTIVES.trim().split(/\s+/);
const surnames = SURNAMES.trim().split(/\s+/);

/** A name that is not taken; after a few clashes a digit is added, as docker does. */
export function generateName(random: Random, isTaken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const adjective = adjectives[random.int(adjectives.length)];
    const surname = surnames[random.int(surnames.length)];
    const tail = attempt < 6 ? "" : String(random.int(10 ** Math.min(9, attempt - 5)));
    const name = `${adjective}_${surname}${tail}`;
    if (!isTaken(name)) return name;
  }
}

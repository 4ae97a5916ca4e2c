import fc from 'fast-check';

type Change = (octets: Uint8Array, at: number, with_: Uint8Array) => Uint8Array;

const joined = (...pieces: Uint8Array[]) => Uint8Array.from(pieces.flatMap((piece) => [...piece]));

const CHANGES: readonly Change[] = [
  (octets, at, [value = 0]) => {
    const copy = octets.slice();
    if (copy.length > 0) copy[at] = value;
    return copy;
  },
  (octets, at, [value = 0]) => {
    const copy = octets.slice();
    if (copy.length > 0) copy[at]! ^= 1 << (value & 7);
    return copy;
  },
  (octets, at) => octets.slice(0, at),
  (octets, at) => octets.slice(at),
  (octets, at, more) => joined(octets.subarray(0, at), more, octets.subarray(at)),
  (octets, at, more) => joined(octets.subarray(0, at), octets.subarray(at + more.length)),
  (octets, at) => joined(octets, octets.subarray(at)),
];

/** Valid octets with a few changes, which get much further into a decoder than noise. */
export function damaged(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.constantFrom(...CHANGES), fc.nat(), fc.uint8Array({ maxLength: 8 }));
  return fc
    .tuple(valid, fc.array(change, { minLength: 1, maxLength: 4 }))
    .map(([octets, changes]) =>
      changes.reduce(
        (spoilt, [apply, at, more]) => apply(spoilt, spoilt.length === 0 ? 0 : at % spoilt.length, more),
        octets,
      ),
    );
}

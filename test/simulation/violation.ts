/** An invariant that does not hold. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function fail(pair: { readonly index: number } | undefined, text: string): never {
  throw new Violation(`${pair === undefined ? '' : `link ${pair.index}: `}${text}`);
}

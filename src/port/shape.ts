import type { MacAddress } from '../../protocols/octets/index.ts';

/** What the kernel's bridge port shall be. */
export interface PortShape {
  hairpin: boolean;
  /** Locked, without learning: only `macs` get in. */
  locked: boolean;
  macs: ReadonlySet<MacAddress>;
}

/** What the kernel's bridge port is, as far as it was asked for. */
export interface PortState {
  /** It reflects: hairpin is on and nothing defeats it. */
  hairpin: boolean;
  /** Addresses that have been let in. */
  macs: ReadonlySet<MacAddress>;
  /** Addresses that the kernel refused, with its reason. */
  refused: ReadonlyMap<MacAddress, string>;
  /** Why hairpin or the lock is not as it shall be. */
  problem?: string;
}

import type { EvbParameters } from '../lldp-codec/index.ts';

/** Milliseconds of an exponent: 2^n x 10 us (evb-tlv.md 1.5). A double holds every value exactly enough up to n = 31. */
export function exponentToMs(n: number): number {
  return 2 ** n / 100;
}

/** All in milliseconds, from the operational EVB parameters (vdp.md 2). */
export interface VdpTimers {
  ackTimer: number;
  /** Bridge: how long the resource layer may take. */
  resourceWaitDelay: number;
  /** Station: how long an answer may take. */
  respWaitDelay: number;
  /** Station: pause between keepalives. */
  reinitKeepAlive: number;
  /** Bridge: silence after which a VSI is released. */
  toutKeepAlive: number;
}

/** Draft 0.2 negotiates none (vdp.md 5.2); how long its bridge may take, and waits for a keepalive, is our choice. */
export const VDP_DRAFT_TIMERS: VdpTimers = {
  ackTimer: 500,
  resourceWaitDelay: 1_500,
  respWaitDelay: 3_000,
  reinitKeepAlive: 10_000,
  toutKeepAlive: 30_000,
};

export function vdpTimers({ r, rte, rwd, rka }: EvbParameters): VdpTimers {
  const ackTimer = exponentToMs(rte);
  const delivery = (2 * r + 1) * ackTimer;
  const resourceWaitDelay = exponentToMs(rwd);
  const reinitKeepAlive = exponentToMs(rka);
  return {
    ackTimer,
    resourceWaitDelay,
    respWaitDelay: 1.5 * (resourceWaitDelay + delivery),
    reinitKeepAlive,
    toutKeepAlive: 1.5 * (reinitKeepAlive + delivery),
  };
}

import { ECP_DRAFT_RETRIES } from '../../protocols/ecp/index.ts';
import type { EvbParameters } from '../../protocols/lldp-codec/index.ts';
import { VDP_DRAFT_TIMERS, type VdpTimers, vdpTimers } from '../../protocols/vdp/index.ts';
import type { DialectName } from '../../src/model.ts';
import { DRAFT_AFTER } from '../../src/port/dialect.ts';
import { Random } from './random.ts';

/** Probabilities of one frame, and mean pauses (milliseconds, 0: never) of what happens by itself. */
export interface Faults {
  loss: number;
  duplication: number;
  reordering: number;
  corruption: number;
  echo: number;
  /** Milliseconds of the wire. */
  delay: number;
  flap: number;
  restartStation: number;
  restartBridge: number;
  /** Share of the restarts after which nothing is remembered. */
  stateLost: number;
  freezeStation: number;
  freezeBridge: number;
  /** The switch neither acknowledges nor answers ECP. */
  deaf: number;
  /** The port leaves its Linux bridge for a while. */
  unbridged: number;
  /** A link is released: goodbye, and taken up again later. */
  release: number;
  kernelRefuses: number;
  kernelSlow: number;
  throwOut: number;
  policy: number;
  /** Others, who do not hear us, speak EVB on the link. */
  stranger: number;
}

export interface PairPlan {
  /** Which Linux bridge the port is in. */
  kernel: number;
  stationProposal: EvbParameters;
  bridgeProposal: EvbParameters;
  /** What either is told to propose meanwhile, now and then. */
  otherProposal: EvbParameters;
  stationRelay: 'request' | 'off' | 'assume';
  bridgeRelay: 'allow' | 'deny' | 'always';
  stationProtocol: DialectName | 'auto';
  bridgeProtocol: DialectName | 'auto';
  stationGroupIds: boolean;
  bridgeGroupIds: boolean;
  enforce: boolean;
  /** What the station takes the bridge for. */
  peer: 'auto' | 'standard' | 'lldpad';
  stationVsis: number;
  bridgeVsis: number;
  faults: Faults;
}

/** All that a seed decides before the run. */
export interface Plan {
  seed: number;
  lldp: { msgTxInterval: number; msgTxHold: number };
  pairs: PairPlan[];
  guests: number;
  /** Milliseconds during which there are faults and users. */
  turmoil: number;
  /** Mean pause between two wishes of a user, milliseconds. */
  userPause: number;
}

export function planOf(seed: number): Plan {
  const random = new Random(seed, 1);
  const kernels = random.integer(1, 2);
  const pairs = Array.from({ length: random.integer(1, 3) }, () => pairOf(random, kernels));
  // Drawn apart: without strangers a seed is the history that it was.
  const guests = new Random(seed, 5);
  for (const { faults } of pairs) faults.stranger = guests.chance(0.3) ? guests.between(3_000, 60_000) : 0;
  return {
    seed,
    lldp: { msgTxInterval: random.pick([5, 5, 8, 30]), msgTxHold: random.integer(2, 4) },
    pairs,
    guests: random.integer(1, 8),
    turmoil: random.between(10_000, 90_000),
    userPause: random.pick([100, 500, 2_000, 5_000]),
  };
}

function pairOf(random: Random, kernels: number): PairPlan {
  const proposal = (): EvbParameters => ({
    r: random.integer(0, 4),
    rte: random.integer(8, 14),
    rwd: random.integer(15, 19),
    rka: random.integer(17, 20),
  });
  const usually = <T>(value: T, ...others: T[]): T => (random.chance(0.7) ? value : random.pick(others));
  const enforce = random.chance(0.75);
  return {
    kernel: random.integer(0, kernels - 1),
    stationProposal: proposal(),
    bridgeProposal: proposal(),
    otherProposal: proposal(),
    stationRelay: usually('request', 'off', 'assume'),
    bridgeRelay: usually('allow', 'deny', 'always'),
    ...protocolsOf(random),
    stationGroupIds: random.chance(0.3),
    bridgeGroupIds: random.chance(0.5),
    enforce,
    peer: usually<PairPlan['peer']>('auto', 'standard', 'lldpad'),
    stationVsis: usually(4096, 3),
    bridgeVsis: usually(4096, 3),
    faults: faultsOf(random),
  };
}

/** Such as can agree: who insists on nothing follows the other, two of those speak the standard. */
function protocolsOf(random: Random): Pick<PairPlan, 'stationProtocol' | 'bridgeProtocol'> {
  const [stationProtocol, bridgeProtocol] = random.pick<
    [PairPlan['stationProtocol'], PairPlan['bridgeProtocol']]
  >([
    ['ratified', 'ratified'],
    ['ratified', 'auto'],
    ['auto', 'ratified'],
    ['auto', 'auto'],
    ['auto', 'auto'],
    ['draft', 'draft'],
    ['draft', 'auto'],
    ['auto', 'draft'],
  ]);
  return { stationProtocol, bridgeProtocol };
}

/** What is spoken in the end. */
export function dialectOf({ stationProtocol, bridgeProtocol }: PairPlan): DialectName {
  return stationProtocol === 'draft' || bridgeProtocol === 'draft' ? 'draft' : 'ratified';
}

function faultsOf(random: Random): Faults {
  const maybe = (low: number, high: number, chance = 0.35) =>
    random.chance(chance) ? random.between(low, high) : 0;
  // A quarter of the links has no faults of the wire: what goes wrong there is told from what loss explains.
  const wire = random.chance(0.75) ? 1 : 0;
  return {
    loss: wire * maybe(0.01, 0.4),
    duplication: wire * maybe(0.01, 0.3),
    reordering: wire * maybe(0.01, 0.3),
    corruption: wire * maybe(0.005, 0.1, 0.2),
    echo: maybe(0.01, 1, 0.2),
    delay: random.pick([0.05, 0.1, 1, 20]),
    flap: maybe(3_000, 60_000),
    restartStation: maybe(3_000, 60_000),
    restartBridge: maybe(3_000, 60_000),
    stateLost: maybe(0, 1, 0.6),
    freezeStation: maybe(5_000, 60_000, 0.2),
    freezeBridge: maybe(5_000, 60_000, 0.2),
    deaf: maybe(5_000, 60_000, 0.3),
    unbridged: maybe(5_000, 60_000, 0.15),
    release: maybe(3_000, 60_000, 0.15),
    kernelRefuses: maybe(0.01, 0.5, 0.25),
    kernelSlow: maybe(0.01, 0.5, 0.4),
    throwOut: maybe(1_000, 30_000, 0.25),
    policy: maybe(3_000, 30_000, 0.2),
    stranger: 0,
  };
}

/** STAY of the LLDP agent: a neighbour that is to make room for another has been there so long. */
const STAY = 60_000;
/** TRIAL of src/port: LLDPDU intervals within which a peer has to show that it hears us. */
const TRIAL = 3;
/** RETRY_LAST of src/station: the longest pause between two attempts. */
const RETRY_LAST = 60_000;
const SECOND = 1_000;

/** How long both sides may take to agree once the faults have ended, milliseconds; the sum of what each link of the chain may cost. */
export function recoveryTime(plan: Plan, pair: PairPlan): number {
  // What was started before may run with what was proposed before, or in the other dialect.
  const operational = larger(largest(pair), pair.otherProposal);
  const { ackTimer, resourceWaitDelay, respWaitDelay, reinitKeepAlive, toutKeepAlive } = longest([
    vdpTimers(operational),
    ...(speakDraft(pair) ? [VDP_DRAFT_TIMERS] : []),
  ]);
  const { msgTxInterval, msgTxHold } = plan.lldp;
  const ttl = (msgTxInterval * msgTxHold + 1) * SECOND;
  // A neighbour that never was (corruption) leaves, the real one speaks, within the credit of one more second.
  const negotiated = ttl + (msgTxInterval + 2) * SECOND;
  // An answer that got lost on the last day of the faults, the longest pause, and an attempt that goes well.
  const asked = reinitKeepAlive + respWaitDelay + RETRY_LAST + respWaitDelay;
  // What nobody wants any more is given up by the bridge, which may be thinking about it just now.
  const released = resourceWaitDelay + toutKeepAlive;
  // ECP may be busy with what nobody acknowledged.
  const delivered = 2 * (retriesMax(pair) + 1) * ackTimer;
  return negotiated + dialectFound(plan, pair) + known(plan, pair) + asked + released + delivered + SECOND;
}

/**
 * Until strangers have made room for the peer, and have failed where it stands the trial, in one dialect and in the other; its
 * place may have been given back to it just before.
 */
function known({ lldp }: Plan, { faults }: PairPlan): number {
  return faults.stranger === 0 ? 0 : STAY + 3 * (TRIAL + 1) * lldp.msgTxInterval * SECOND;
}

/** Whether a peer can show to this side that it hears it: nobody can echo a status that was never filled in. */
export function canShow(pair: PairPlan, to: 'station' | 'bridge'): boolean {
  if (dialectOf(pair) === 'draft') return true;
  return to === 'station'
    ? pair.stationRelay === 'request' || pair.stationGroupIds
    : pair.bridgeRelay !== 'deny' || pair.bridgeGroupIds;
}

/** Until a side that insists on no dialect speaks the draft: it may have to find out that it was misled first. */
function dialectFound({ lldp }: Plan, pair: PairPlan): number {
  return speakDraft(pair) ? 2 * (DRAFT_AFTER + 1) * lldp.msgTxInterval * SECOND : 0;
}

function speakDraft({ stationProtocol, bridgeProtocol }: PairPlan): boolean {
  return stationProtocol !== 'ratified' && bridgeProtocol !== 'ratified';
}

function retriesMax(pair: PairPlan): number {
  return Math.max(larger(largest(pair), pair.otherProposal).r, ECP_DRAFT_RETRIES);
}

/** Once both sides agree: a user's wish, answered. */
export function answerTime(pair: PairPlan): number {
  const { ackTimer, reinitKeepAlive } = longest(operationalTimers(pair));
  return 2 * (retriesMax(pair) + 1) * ackTimer + reinitKeepAlive + SECOND;
}

/** A loss of state that shows in LLDP: two rounds of telling within the credit, the pause between two rounds of asking, the answers. */
export function promptTime(pair: PairPlan): number {
  return 3 * SECOND + SECOND + 4 * (retriesMax(pair) + 1) * longest(operationalTimers(pair)).ackTimer;
}

function longest(timers: readonly VdpTimers[]): VdpTimers {
  const of = (key: keyof VdpTimers) => Math.max(...timers.map((each) => each[key]));
  return {
    ackTimer: of('ackTimer'),
    resourceWaitDelay: of('resourceWaitDelay'),
    respWaitDelay: of('respWaitDelay'),
    reinitKeepAlive: of('reinitKeepAlive'),
    toutKeepAlive: of('toutKeepAlive'),
  };
}

/** LLDPAD_RTE of src/station: what a station offers to lldpad. */
const LLDPAD_RTE = 8;

/** What both sides may agree on: a station that learns by itself may take its bridge for lldpad. */
export function operationalTimers(pair: PairPlan): VdpTimers[] {
  if (dialectOf(pair) === 'draft') return [VDP_DRAFT_TIMERS];
  const { stationProposal, peer } = pair;
  const { rte } = stationProposal;
  const offered = { auto: [rte, LLDPAD_RTE], standard: [rte], lldpad: [LLDPAD_RTE] }[peer];
  return offered.map((most) => {
    const proposal = { ...stationProposal, rte: Math.min(rte, most) };
    return vdpTimers(largest({ ...pair, stationProposal: proposal }));
  });
}

export function largest({ stationProposal, bridgeProposal }: PairPlan): EvbParameters {
  return larger(stationProposal, bridgeProposal);
}

function larger(a: EvbParameters, b: EvbParameters): EvbParameters {
  const of = (key: keyof EvbParameters) => Math.max(a[key], b[key]);
  return { r: of('r'), rte: of('rte'), rwd: of('rwd'), rka: of('rka') };
}

import type { MacAddress } from '../../protocols/octets/index.ts';
import { type FilterEntry, type VsiCommand, vsiKey } from '../../protocols/vdp/index.ts';
import type { Profile } from '../config/profile.ts';
import { isRule, type Owner, type StationVsi, samePair } from './vsi.ts';

/** A slave as far as rules care; `serial` is its own as long as it lives, and the smaller the longer it is known. */
export interface RuledSlave {
  serial: number;
  name: string;
  /** Id of the namespace that it is in; absent: ours. */
  namespaceId?: number;
  /** Id of the namespace in which it was first seen, negative when that has ended since; absent: ours. */
  origin?: number;
  vepa: boolean;
  up: boolean;
  /** Its MAC is that of the uplink, which others share by nature (ipvlan). */
  sharesMac: boolean;
  mac?: MacAddress;
  /** Of the VLAN device that it stands on; absent: none. */
  vid?: number;
}

/** How many slaves have VSIs, so that who may make interfaces in a container does not take what is there for all. */
export interface SlaveBounds {
  /** A tenth of them is for those of our namespace. */
  perUplink: number;
  /** Of one namespace that is not ours. */
  perNamespace: number;
}

/** A rule that is about this uplink. */
export interface Rule {
  /** Place in the configuration, from 1. */
  number: number;
  /** A MAC address, or the beginning of one and `*`; absent: any. */
  mac?: string;
  profile: Profile;
}

/** A VSI that the rules want. */
export interface RuledVsi {
  command: VsiCommand;
  owner: Owner;
  profile: string;
}

export interface Verdict {
  want: RuledVsi[];
  /** Keys of VSIs that no slave stands for any more. */
  unwant: string[];
  /** By serial number: the key of the slave's VSI, or why it has none. */
  slaves: Map<number, { vsi: string } | { reason: string }>;
  /** How many have none because others are within the bounds. */
  beyond: number;
}

interface Pair {
  filter: FilterEntry;
  rule: Rule;
  serials: number[];
}

/** What a slave stands for by its rule. */
interface Claim extends Omit<Pair, 'serials'> {
  slave: RuledSlave;
  /** It did so when it was last looked at. */
  held: boolean;
}

/** Takes the place of a VSI's id that is in use: the next one for these filters. */
export type DeriveId = (
  filters: readonly FilterEntry[],
  attempt: number,
) => Pick<VsiCommand, 'idFormat' | 'id'>;

/**
 * Which VSIs the slaves of an uplink stand for, by the first rule that matches each. A slave whose address changes keeps its VSI,
 * which changes its filter. ipvlan slaves with the same VID are one VSI; of others with the same MAC and VID one stands for it: a
 * slave may have been given the address of another to take its place. What somebody else asks for goes first.
 */
export class Association {
  /** Slaves that stood for a VSI when they were last looked at. */
  #serials = new Map<string, readonly number[]>();

  /** `again`: what the bridge has refused for good is worth another try, for something is new. */
  judge(
    slaves: readonly RuledSlave[],
    rules: readonly Rule[],
    vsis: ReadonlyMap<string, StationVsi>,
    deriveId: DeriveId,
    again: boolean,
    bounds: SlaveBounds,
    uplinkMac: MacAddress | undefined,
  ): Verdict {
    const verdict: Verdict = { want: [], unwant: [], slaves: new Map(), beyond: 0 };
    const others = new Map<FilterEntry['mac'], { entry: FilterEntry; vsi: StationVsi }[]>();
    for (const vsi of vsis.values()) {
      if (vsi.wanted === undefined || isRule(vsi.owner)) continue;
      for (const entry of vsi.wanted.filters) {
        const held = others.get(entry.mac);
        if (held === undefined) others.set(entry.mac, [{ entry, vsi }]);
        else held.push({ entry, vsi });
      }
    }
    const ruled = [...vsis.values()].filter(
      ({ owner, wanted, failed }) => isRule(owner) && (wanted !== undefined || failed),
    );
    const held = new Set([...this.#serials.values()].flat());
    // After a start it is the pairs that tell.
    const begun = this.#serials.size > 0;
    const heldPairs = new Set(
      begun ? [] : ruled.flatMap(({ wanted, command }) => (wanted ?? command).filters.map(textOf)),
    );
    const claims: Claim[] = [];
    for (const slave of slaves) {
      const found = pairOf(slave, rules, uplinkMac);
      if ('reason' in found) {
        verdict.slaves.set(slave.serial, found);
        continue;
      }
      const { filter, rule } = found;
      const taken = others
        .get(filter.mac)
        ?.find(({ entry, vsi }) => samePair(filter, `rule:${rule.number}`, entry, vsi.owner))?.vsi;
      if (taken !== undefined) {
        const reason = `rule ${rule.number} steps back: VSI ${taken.id} of ${taken.owner} has its address`;
        verdict.slaves.set(slave.serial, { reason });
        continue;
      }
      const holds = held.has(slave.serial) || heldPairs.has(textOf(filter));
      claims.push({ ...found, slave, held: holds });
    }
    const pairs = contested(bounded(claims, bounds, verdict), verdict);

    const left = new Map(ruled.map((vsi) => [vsi.key, vsi]));
    const serials = new Map<string, readonly number[]>();
    const assign = (
      pair: Pair,
      known: StationVsi | undefined,
      identity: Pick<VsiCommand, 'idFormat' | 'id'>,
    ) => {
      const vsi = ruledVsi(pair, identity);
      const key = vsiKey(vsi.command);
      left.delete(key);
      pairs.delete(textOf(pair.filter));
      serials.set(key, pair.serials);
      for (const serial of pair.serials) verdict.slaves.set(serial, { vsi: key });
      const holds = known !== undefined && known.owner === vsi.owner && known.profile === vsi.profile;
      const refused = known?.failed === true && !again && sameWish(known.command, vsi.command);
      if (refused || (holds && known.wanted !== undefined && sameWish(known.wanted, vsi.command))) return;
      verdict.want.push(vsi);
    };
    // The VSI that has this pair already, else the one that a slave of it had before, else a new one.
    for (const vsi of ruled) {
      const { filters } = vsi.wanted ?? vsi.command;
      const pair = filters.length === 1 ? pairs.get(textOf(filters[0]!)) : undefined;
      if (pair !== undefined) assign(pair, vsi, vsi.command);
    }
    const pairOfSerial = new Map<number, Pair>();
    for (const pair of pairs.values()) for (const serial of pair.serials) pairOfSerial.set(serial, pair);
    for (const before of [...left.values()]) {
      for (const serial of this.#serials.get(before.key) ?? []) {
        const pair = pairOfSerial.get(serial);
        if (pair === undefined || !pairs.has(textOf(pair.filter))) continue;
        assign(pair, before, before.command);
        break;
      }
    }
    for (const pair of [...pairs.values()]) {
      let attempt = 0;
      let identity = deriveId([pair.filter], attempt);
      while (vsis.has(vsiKey(identity)) || serials.has(vsiKey(identity)))
        identity = deriveId([pair.filter], ++attempt);
      assign(pair, undefined, identity);
    }
    verdict.unwant.push(...left.keys());
    this.#serials = serials;
    return verdict;
  }
}

/**
 * Those within the bounds: who has a place keeps it, then those of our namespace, then as they came. A container may be able to
 * move what it makes into another namespace, ours among them: it counts where it was first seen.
 */
function bounded(claims: Claim[], { perUplink, perNamespace }: SlaveBounds, verdict: Verdict): Claim[] {
  const ordered = [...claims].sort(
    (a, b) => Number(b.held) - Number(a.held) || ownFirst(a, b) || a.slave.serial - b.slave.serial,
  );
  const ofOthers = perUplink - Math.floor(perUplink / 10);
  const counts = new Map<number, number>();
  let total = 0;
  let others = 0;
  return ordered.filter(({ slave }) => {
    const madeIn = accountOf(slave);
    const count = madeIn === undefined ? 0 : (counts.get(madeIn) ?? 0);
    let limit: string | undefined;
    if (total >= perUplink) limit = `slaves-per-uplink (${perUplink} have VSIs)`;
    else if (madeIn !== undefined && others >= ofOthers)
      limit = `slaves-per-uplink (${ofOthers} of other namespaces have VSIs)`;
    else if (madeIn !== undefined && count >= perNamespace) {
      const which = madeIn < 0 ? 'a namespace that has ended' : `namespace ${madeIn}`;
      limit = `slaves-per-namespace (${perNamespace} of ${which} have VSIs)`;
    }
    if (limit !== undefined) {
      verdict.slaves.set(slave.serial, { reason: `one too many for limits: ${limit}` });
      verdict.beyond++;
      return false;
    }
    total++;
    if (madeIn !== undefined) {
      others++;
      counts.set(madeIn, count + 1);
    }
    return true;
  });
}

/**
 * One for each MAC and VID, with the slave that stands for it. Who does and is up goes on, wherever it is: a container may be able
 * to make one in our namespace. Else those of our namespace go first; then a slave that is up, as the kernel gives an address to
 * one of those only; then who came first.
 */
function contested(claims: readonly Claim[], verdict: Verdict): Map<string, Pair> {
  const rivals = new Map<string, Claim[]>();
  for (const claim of claims) {
    const text = textOf(claim.filter);
    const known = rivals.get(text);
    if (known === undefined) rivals.set(text, [claim]);
    else known.push(claim);
  }
  const pairs = new Map<string, Pair>();
  for (const [text, all] of rivals) {
    const first = (a: Claim, b: Claim) =>
      Number(b.held && b.slave.up) - Number(a.held && a.slave.up) ||
      ownFirst(a, b) ||
      Number(b.slave.up) - Number(a.slave.up) ||
      Number(b.held) - Number(a.held) ||
      a.slave.serial - b.slave.serial;
    const { filter, rule, slave: holder } = all.reduce((a, b) => (first(b, a) < 0 ? b : a));
    const serials: number[] = [];
    for (const { slave } of all) {
      if (slave === holder || (slave.sharesMac && holder.sharesMac)) serials.push(slave.serial);
      else verdict.slaves.set(slave.serial, { reason: `${nameOf(holder)} has its address, and goes first` });
    }
    pairs.set(text, { filter, rule, serials });
  }
  return pairs;
}

function ownFirst({ slave: a }: Claim, { slave: b }: Claim): number {
  return Number(accountOf(a) !== undefined) - Number(accountOf(b) !== undefined);
}

/** The namespace that it counts for; undefined: ours. */
function accountOf({ origin, namespaceId }: RuledSlave): number | undefined {
  return origin ?? namespaceId;
}

function nameOf({ name, namespaceId }: RuledSlave): string {
  return namespaceId === undefined ? name : `${name} in namespace ${namespaceId}`;
}

function pairOf(
  slave: RuledSlave,
  rules: readonly Rule[],
  uplinkMac: MacAddress | undefined,
): Omit<Pair, 'serials'> | { reason: string } {
  if (!slave.vepa) return { reason: 'not in VEPA mode' };
  const { mac } = slave;
  if (mac === undefined) return { reason: 'it has no MAC address' };
  if (mac === uplinkMac && !slave.sharesMac) return { reason: 'it has the MAC address of the uplink' };
  const rule = rules.find((candidate) => ruleMatches(candidate.mac, mac));
  if (rule === undefined) return { reason: 'no rule matches it' };
  return { filter: { mac, vid: slave.vid ?? rule.profile.vlan ?? 0 }, rule };
}

/** Whether a rule's `mac` is about this address. */
export function ruleMatches(pattern: string | undefined, mac: MacAddress): boolean {
  if (pattern === undefined) return true;
  const wanted = pattern.toLowerCase().replaceAll('-', ':');
  return wanted.endsWith('*') ? mac.startsWith(wanted.slice(0, -1)) : mac === wanted;
}

function ruledVsi({ filter, rule }: Pair, { idFormat, id }: Pick<VsiCommand, 'idFormat' | 'id'>): RuledVsi {
  const { manager, type, typeVersion, name } = rule.profile;
  return {
    command: {
      request: 'associate',
      manager,
      type,
      typeVersion,
      idFormat,
      id,
      filters: [filter],
      hint: 'none',
    },
    owner: `rule:${rule.number}`,
    profile: name,
  };
}

function textOf({ mac, vid }: FilterEntry): string {
  return `${mac}/${vid}`;
}

function sameWish(a: VsiCommand, b: VsiCommand): boolean {
  return (
    a.request === b.request &&
    a.type === b.type &&
    a.typeVersion === b.typeVersion &&
    a.manager.every((octet, i) => octet === b.manager[i]) &&
    a.filters.length === b.filters.length &&
    a.filters.every((entry, i) => textOf(entry) === textOf(b.filters[i]!))
  );
}

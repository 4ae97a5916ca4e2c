import type { MacAddress } from '../../protocols/octets/index.ts';
import { type FilterEntry, type VsiCommand, vsiKey } from '../../protocols/vdp/index.ts';
import type { Profile } from '../config/profile.ts';
import { isRule, type Owner, type StationVsi } from './vsi.ts';

/** A slave as far as rules care; `serial` is its own as long as it lives. */
export interface RuledSlave {
  serial: number;
  vepa: boolean;
  mac?: MacAddress;
  /** Of the VLAN device that it stands on; absent: none. */
  vid?: number;
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
}

interface Pair {
  filter: FilterEntry;
  rule: Rule;
  serials: number[];
}

/** Takes the place of a VSI's id that is in use: the next one for these filters. */
export type DeriveId = (
  filters: readonly FilterEntry[],
  attempt: number,
) => Pick<VsiCommand, 'idFormat' | 'id'>;

/**
 * Which VSIs the slaves of an uplink stand for, by the first rule that matches each. Slaves with the same MAC and VID (ipvlan) are
 * one VSI. A slave whose address changes keeps its VSI, which changes its filter. What somebody else asks for goes first.
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
  ): Verdict {
    const verdict: Verdict = { want: [], unwant: [], slaves: new Map() };
    const others = new Map<FilterEntry['mac'], { entry: FilterEntry; vsi: StationVsi }[]>();
    for (const vsi of vsis.values()) {
      if (vsi.wanted === undefined || isRule(vsi.owner)) continue;
      for (const entry of vsi.wanted.filters) {
        const held = others.get(entry.mac);
        if (held === undefined) others.set(entry.mac, [{ entry, vsi }]);
        else held.push({ entry, vsi });
      }
    }
    const pairs = new Map<string, Pair>();
    for (const slave of slaves) {
      const found = pairOf(slave, rules);
      if ('reason' in found) {
        verdict.slaves.set(slave.serial, found);
        continue;
      }
      const taken = others.get(found.filter.mac)?.find(({ entry }) => sameVid(entry, found.filter))?.vsi;
      if (taken !== undefined) {
        const reason = `rule ${found.rule.number} steps back: VSI ${taken.id} of ${taken.owner} has its address`;
        verdict.slaves.set(slave.serial, { reason });
        continue;
      }
      const pair = pairs.get(textOf(found.filter));
      if (pair === undefined) pairs.set(textOf(found.filter), { ...found, serials: [slave.serial] });
      else pair.serials.push(slave.serial);
    }

    const ruled = [...vsis.values()].filter(
      ({ owner, wanted, failed }) => isRule(owner) && (wanted !== undefined || failed),
    );
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

function pairOf(slave: RuledSlave, rules: readonly Rule[]): Omit<Pair, 'serials'> | { reason: string } {
  if (!slave.vepa) return { reason: 'not in VEPA mode' };
  const { mac } = slave;
  if (mac === undefined) return { reason: 'it has no MAC address' };
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

function sameVid(entry: FilterEntry, other: FilterEntry): boolean {
  return entry.vid === other.vid || entry.vid === 0 || other.vid === 0;
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

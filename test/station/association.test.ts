import { describe, expect, it } from 'vitest';
import type { MacAddress } from '../../protocols/octets/index.ts';
import { VDP_RATIFIED, VSIID_UUID, vdpTimers, vsiKey } from '../../protocols/vdp/index.ts';
import { Association, type DeriveId, type Rule, type RuledSlave } from '../../src/station/association.ts';
import { StationVsi } from '../../src/station/vsi.ts';

const TIMERS = vdpTimers({ r: 3, rte: 14, rwd: 20, rka: 20 });
const profile = (type: number, vlan?: number) => ({
  name: `type${type}`,
  manager: new Uint8Array(16),
  type,
  typeVersion: 1,
  ...(vlan === undefined ? {} : { vlan }),
});
const RULES: Rule[] = [
  { number: 1, mac: '52:54:00:*', profile: profile(1, 10) },
  { number: 3, mac: '52:55:00:00:00:01', profile: profile(2) },
];
const mac = (n: number, prefix = '52:54:00') => `${prefix}:00:00:0${n}` as MacAddress;
const slave = (serial: number, more: Partial<RuledSlave> = {}): RuledSlave => ({
  serial,
  name: `mv${serial}`,
  vepa: true,
  up: true,
  sharesMac: false,
  mac: mac(serial),
  ...more,
});
const deriveId: DeriveId = ([filter], attempt) => {
  const id = new TextEncoder().encode(`${filter!.mac!.slice(9)}/${filter!.vid}#${attempt}`.padEnd(16));
  return { idFormat: VSIID_UUID, id: id.slice(0, 16) };
};

/** The VSIs of a station, as far as rules look at them. */
class Book {
  readonly vsis = new Map<string, StationVsi>();
  readonly association = new Association();
  rules = RULES;
  bounds = { perUplink: 1000, perNamespace: 100 };
  uplinkMac: MacAddress | undefined;

  judge(slaves: readonly RuledSlave[], again = false) {
    const { rules, vsis, bounds, uplinkMac } = this;
    const verdict = this.association.judge(slaves, rules, vsis, deriveId, again, bounds, uplinkMac);
    for (const key of verdict.unwant) this.vsis.delete(key);
    for (const { command, owner, profile: name } of verdict.want) {
      const key = vsiKey(command);
      const vsi = this.vsis.get(key) ?? new StationVsi(key, command, owner, TIMERS, VDP_RATIFIED);
      Object.assign(vsi, { wanted: command, owner, profile: name, failed: false });
      this.vsis.set(key, vsi);
    }
    return verdict;
  }

  get wanted() {
    return [...this.vsis.values()].map(
      ({ wanted, owner }) => `${wanted?.filters[0]?.mac}/${wanted?.filters[0]?.vid} ${wanted?.type} ${owner}`,
    );
  }
}

describe('association by rules', () => {
  it('the first rule that matches gives profile and owner, the VLAN device or the profile the VID', () => {
    const book = new Book();
    book.judge([slave(1), slave(2, { vid: 7 }), slave(3, { mac: mac(1, '52:55:00') })]);
    expect(book.wanted).toEqual([
      `${mac(1)}/10 1 rule:1`,
      `${mac(2)}/7 1 rule:1`,
      `${mac(1, '52:55:00')}/0 2 rule:3`,
    ]);
  });

  it('what is not associated has a reason', () => {
    const { mac: _, ...bare } = slave(3);
    const { slaves } = new Book().judge([
      slave(1, { vepa: false }),
      slave(2, { mac: mac(2, '02:00:00') }),
      bare,
    ]);
    expect([...slaves.values()]).toEqual([
      { reason: 'not in VEPA mode' },
      { reason: 'no rule matches it' },
      { reason: 'it has no MAC address' },
    ]);
  });

  it('the MAC of the uplink is that of its ipvlans, and of no other slave', () => {
    const book = new Book();
    book.uplinkMac = mac(1);
    const { slaves } = book.judge([slave(1), slave(2, { mac: mac(1), sharesMac: true, up: false })]);
    expect(slaves.get(1)).toEqual({ reason: 'it has the MAC address of the uplink' });
    expect(slaves.get(2)).toHaveProperty('vsi');
  });

  it('judging again wants nothing new', () => {
    const book = new Book();
    book.judge([slave(1)]);
    expect(book.judge([slave(1)])).toMatchObject({ want: [], unwant: [] });
  });

  it('ipvlan slaves with the same MAC and VID are one VSI, as long as one of them is there', () => {
    const book = new Book();
    const [a, b] = [1, 2].map((serial) => slave(serial, { mac: mac(1), sharesMac: true })) as [
      RuledSlave,
      RuledSlave,
    ];
    const { slaves } = book.judge([a, b]);
    expect(new Set([...slaves.values()].map((verdict) => 'vsi' in verdict && verdict.vsi)).size).toBe(1);
    expect(book.judge([b])).toMatchObject({ want: [], unwant: [] });
    expect(book.judge([]).unwant).toHaveLength(1);
  });

  it('a slave with another address keeps its VSI; two that swap theirs swap VSIs', () => {
    const book = new Book();
    book.judge([slave(1), slave(2)]);
    const keys = [...book.vsis.keys()];
    book.judge([slave(1, { mac: mac(5) }), slave(2)]);
    expect([[...book.vsis.keys()], book.wanted[0]]).toEqual([keys, `${mac(5)}/10 1 rule:1`]);
    const swapped = book.judge([slave(1, { mac: mac(2) }), slave(2, { mac: mac(5) })]);
    expect(swapped).toMatchObject({ want: [], unwant: [] });
  });

  it('an id that another VSI has is not taken', () => {
    const book = new Book();
    book.judge([slave(1)]);
    book.judge([slave(1, { mac: mac(5) })]);
    book.judge([slave(1, { mac: mac(5) }), slave(2, { mac: mac(1) })]);
    expect(book.vsis.size).toBe(2);
    expect(book.wanted).toEqual([`${mac(5)}/10 1 rule:1`, `${mac(1)}/10 1 rule:1`]);
  });

  it('steps back for what somebody else asks for, and takes over when that ends', () => {
    const book = new Book();
    book.judge([slave(1)]);
    const [ruled] = [...book.vsis.values()];
    const key = '4:other';
    const other = new StationVsi(key, { ...ruled!.wanted!, idFormat: 4 }, 'dbus', TIMERS, VDP_RATIFIED);
    other.wanted = ruled!.wanted;
    book.vsis.set(key, other);
    const { unwant, slaves } = book.judge([slave(1)]);
    expect(unwant).toEqual([ruled!.key]);
    expect(slaves.get(1)).toEqual({
      reason: expect.stringMatching(/^rule 1 steps back: VSI .* of dbus has its address$/),
    });
    book.vsis.delete(key);
    expect(book.judge([slave(1)]).want).toHaveLength(1);
  });

  it('what was refused for good is not asked for again until something is new', () => {
    const book = new Book();
    book.judge([slave(1)]);
    const [vsi] = [...book.vsis.values()];
    Object.assign(vsi!, { wanted: undefined, failed: true });
    expect(book.judge([slave(1)])).toMatchObject({ want: [], unwant: [] });
    expect(book.judge([slave(1)], true).want).toHaveLength(1);
    Object.assign(vsi!, { wanted: undefined, failed: true });
    expect(book.judge([slave(1, { vid: 9 })]).want).toHaveLength(1);
  });

  it('another rule, or another profile of it, changes the VSI', () => {
    const book = new Book();
    book.judge([slave(1)]);
    const [key] = [...book.vsis.keys()];
    book.rules = [{ number: 1, profile: profile(9) }];
    book.judge([slave(1)]);
    expect(book.wanted).toEqual([`${mac(1)}/0 9 rule:1`]);
    expect([...book.vsis.keys()]).toEqual([key]);
  });

  describe('slaves with the address of another', () => {
    const holders = (verdict: ReturnType<Book['judge']>) =>
      [...verdict.slaves].flatMap(([serial, found]) => ('vsi' in found ? [serial] : [])).sort();
    const victim = slave(2, { mac: mac(1), namespaceId: 1 });
    const thief = slave(1, { mac: mac(1), namespaceId: 2 });

    it('who stands for the VSI keeps it; the other takes over when it goes, and nothing is told to the bridge', () => {
      const book = new Book();
      book.judge([victim]);
      const verdict = book.judge([thief, victim]);
      expect([holders(verdict), verdict.want, verdict.unwant]).toEqual([[2], [], []]);
      expect(verdict.slaves.get(1)).toEqual({ reason: 'mv2 in namespace 1 has its address, and goes first' });
      const after = book.judge([thief]);
      expect([holders(after), after.want, after.unwant]).toEqual([[1], [], []]);
    });

    it('goes with it to another address without taking the VSI along, and without ending it', () => {
      const book = new Book();
      book.judge([victim]);
      book.judge([thief, victim]);
      const verdict = book.judge([{ ...thief, mac: mac(7) }, victim]);
      expect(verdict.unwant).toEqual([]);
      expect(book.wanted.sort()).toEqual([`${mac(1)}/10 1 rule:1`, `${mac(7)}/10 1 rule:1`]);
      expect(book.judge([victim]).unwant).toHaveLength(1);
      expect(book.wanted).toEqual([`${mac(1)}/10 1 rule:1`]);
    });

    it('the one that is up goes before one that is not, ours before those of others', () => {
      expect(holders(new Book().judge([{ ...thief, up: false }, victim]))).toEqual([2]);
      const { namespaceId: _, ...own } = { ...victim, up: false };
      const book = new Book();
      book.judge([{ ...thief, up: false }]);
      expect(holders(book.judge([{ ...thief, up: false }, own]))).toEqual([2]);
      expect(book.wanted).toHaveLength(1);
    });

    it('who stands for the VSI and is up keeps it, also where the other is in our namespace', () => {
      for (const up of [false, true]) {
        const { namespaceId: _, ...moved } = { ...thief, up };
        const book = new Book();
        book.judge([victim]);
        expect(holders(book.judge([moved, victim]))).toEqual([2]);
        expect(holders(book.judge([moved, { ...victim, up: false }]))).toEqual([1]);
      }
    });

    it('one that was made elsewhere does not go first in our namespace', () => {
      const { namespaceId: _, ...moved } = { ...thief, serial: 3, origin: 2, up: false };
      const waiting = { ...victim, up: false };
      expect(holders(new Book().judge([moved, waiting]))).toEqual([2]);
      const { namespaceId: __, ...own } = { ...waiting, serial: 4 };
      expect(holders(new Book().judge([moved, own]))).toEqual([4]);
    });

    it('one that has its own as ipvlan slaves do shares nothing', () => {
      const verdict = new Book().judge([victim, { ...thief, sharesMac: true, serial: 3 }]);
      expect(holders(verdict)).toEqual([2]);
    });
  });

  describe('bounds', () => {
    const many = (count: number, from: number, namespaceId?: number) =>
      Array.from({ length: count }, (_, n) =>
        slave(from + n, {
          mac: `52:54:00:00:01:${(from + n).toString(16).padStart(2, '0')}` as MacAddress,
          ...(namespaceId === undefined ? {} : { namespaceId }),
        }),
      );
    const holders = ({ slaves }: ReturnType<Book['judge']>) =>
      [...slaves].flatMap(([serial, found]) => ('vsi' in found ? [serial] : [])).sort((a, b) => a - b);

    it('of one namespace so many have VSIs, of ours any number', () => {
      const book = new Book();
      book.bounds = { perUplink: 100, perNamespace: 3 };
      const verdict = book.judge([...many(5, 10, 1), ...many(2, 20, 2), ...many(9, 30)]);
      expect(verdict.beyond).toBe(2);
      expect(holders(verdict)).toEqual([10, 11, 12, 20, 21, 30, 31, 32, 33, 34, 35, 36, 37, 38]);
      expect(verdict.slaves.get(13)).toEqual({
        reason: 'one too many for limits: slaves-per-namespace (3 of namespace 1 have VSIs)',
      });
    });

    it('who has a place keeps it, whoever comes; the next is let in when one goes', () => {
      const book = new Book();
      book.bounds = { perUplink: 5, perNamespace: 3 };
      const [first, late, own] = [many(3, 40, 1), many(3, 10, 2), many(2, 30)];
      book.judge(first);
      expect(holders(book.judge([...late, ...first]))).toEqual([10, 11, 40, 41, 42]);
      const full = book.judge([...late, ...first, ...own]);
      expect([holders(full), full.beyond]).toEqual([[10, 11, 40, 41, 42], 3]);
      expect(full.slaves.get(30)).toEqual({
        reason: 'one too many for limits: slaves-per-uplink (5 have VSIs)',
      });
      expect(holders(book.judge([...late, ...first.slice(1), ...own]))).toEqual([10, 11, 30, 41, 42]);
    });

    it('where it was first seen counts, wherever it is now', () => {
      const book = new Book();
      book.bounds = { perUplink: 100, perNamespace: 2 };
      const made = (from: number, origin: number, namespaceId?: number) =>
        many(3, from, namespaceId).map((one) => ({ ...one, origin }));
      const verdict = book.judge([...made(10, 1), ...made(20, 2, 3), ...made(30, -1), ...many(2, 40, 3)]);
      expect(holders(verdict)).toEqual([10, 11, 20, 21, 30, 31, 40, 41]);
      expect(verdict.slaves.get(12)).toEqual({
        reason: 'one too many for limits: slaves-per-namespace (2 of namespace 1 have VSIs)',
      });
      expect(verdict.slaves.get(32)).toEqual({
        reason: 'one too many for limits: slaves-per-namespace (2 of a namespace that has ended have VSIs)',
      });
    });

    it('a tenth of the uplink is for those of our namespace, however many namespaces there are', () => {
      const book = new Book();
      book.bounds = { perUplink: 20, perNamespace: 3 };
      const theirs = Array.from({ length: 9 }, (_, n) => many(3, 10 + 3 * n, n + 1)).flat();
      const verdict = book.judge(theirs);
      expect([holders(verdict).length, verdict.beyond]).toEqual([18, 9]);
      expect(verdict.slaves.get(36)).toEqual({
        reason: 'one too many for limits: slaves-per-uplink (18 of other namespaces have VSIs)',
      });
      const both = book.judge([...theirs, ...many(3, 50)]);
      expect([holders(both).length, holders(both).slice(-2)]).toEqual([20, [50, 51]]);
    });

    it('after a start those have a place whose VSIs are there', () => {
      const book = new Book();
      book.bounds = { perUplink: 3, perNamespace: 3 };
      const [mine, theirs] = [many(3, 40, 1), many(3, 10, 2)];
      book.judge(mine);
      const restarted = Object.assign(new Book(), { vsis: book.vsis, bounds: book.bounds });
      expect(holders(restarted.judge([...theirs, ...mine]))).toEqual([40, 41, 42]);
    });
  });

  it('who asks over D-Bus for any VID of the MAC goes first too, and for another VID does not', () => {
    for (const [vid, steps] of [
      [0, true],
      [10, true],
      [11, false],
    ] as const) {
      const book = new Book();
      book.judge([slave(1)]);
      const [ruled] = [...book.vsis.values()];
      const filters = [{ mac: mac(1), vid, group: 5 }];
      const other = new StationVsi('4:other', ruled!.wanted!, 'dbus', TIMERS, VDP_RATIFIED);
      other.wanted = { ...ruled!.wanted!, filters };
      book.vsis.set('4:other', other);
      expect(book.judge([slave(1)]).unwant).toHaveLength(steps ? 1 : 0);
    }
  });

  it('many slaves, in whatever order, are not compared with every VSI each', () => {
    const book = new Book();
    const many = Array.from({ length: 400 }, (_, n) =>
      slave(n, {
        mac: `52:54:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}` as MacAddress,
      }),
    );
    book.judge(many);
    expect(book.vsis.size).toBe(400);
    let looks = 0;
    const counting = new Map(
      [...book.vsis].map(([key, vsi]) => [
        key,
        new Proxy(vsi, {
          get(target, name) {
            looks++;
            return Reflect.get(target, name, target);
          },
        }),
      ]),
    );
    const moved = [...many.slice(1), slave(0, { mac: '52:54:00:ff:00:00' as MacAddress })].reverse();
    const { want, unwant } = book.association.judge(
      moved,
      RULES,
      counting,
      deriveId,
      false,
      book.bounds,
      undefined,
    );
    expect([want.length, unwant]).toEqual([1, []]);
    expect(looks).toBeLessThan(400 * 50);
  });
});

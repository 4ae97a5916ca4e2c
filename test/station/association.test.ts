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
  vepa: true,
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

  judge(slaves: readonly RuledSlave[], again = false) {
    const verdict = this.association.judge(slaves, this.rules, this.vsis, deriveId, again);
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

  it('judging again wants nothing new', () => {
    const book = new Book();
    book.judge([slave(1)]);
    expect(book.judge([slave(1)])).toMatchObject({ want: [], unwant: [] });
  });

  it('slaves with the same MAC and VID are one VSI, as long as one of them is there', () => {
    const book = new Book();
    const [a, b] = [slave(1), slave(2, { mac: mac(1) })];
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
    const { want, unwant } = book.association.judge(moved, RULES, counting, deriveId, false);
    expect([want.length, unwant]).toEqual([1, []]);
    expect(looks).toBeLessThan(400 * 50);
  });
});

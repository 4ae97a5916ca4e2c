/** Which slaves the fall-back touches, above all those that an earlier run left; with a kernel that is not. */

import { beforeEach, describe, expect, it } from 'vitest';
import { KernelError } from '../../src/kernel/kernel-error.ts';
import type { Slave, SwitchedSlave } from '../../src/kernel/slave-watch.ts';
import { ModeKeeper } from '../../src/runtime/mode-keeper.ts';

const OURS = 'ours';
const slave = (serial: number, more: Partial<Slave> = {}): Slave =>
  ({
    serial,
    name: `mv${serial}`,
    index: 10 + serial,
    kind: 'macvlan',
    mode: 'vepa',
    vepa: true,
    up: true,
    mac: `52:54:00:00:00:0${serial}`,
    vlans: [],
    uplink: 2,
    ...more,
  }) as Slave;
const inBridgeMode = (serial: number, more: Partial<Slave> = {}) =>
  slave(serial, { mode: 'bridge', vepa: false, ...more });
const left = (serial: number, more: Partial<SwitchedSlave> = {}): SwitchedSlave => ({
  name: `mv${serial}`,
  index: 10 + serial,
  place: OURS,
  mac: `52:54:00:00:00:0${serial}`,
  ...more,
});

let slaves: Slave[];
let journal: readonly SwitchedSlave[];
/** In order: what was journalled, set and warned of. */
let done: string[];
let places: Map<number | undefined, string>;
let wanted: boolean;
let refuse: Error | undefined;
let unwritable: Error | undefined;
let changes: number;

function keeper(of: readonly SwitchedSlave[] = []): ModeKeeper {
  journal = of;
  return new ModeKeeper({
    journal: of,
    onJournal: async (switched) => {
      if (unwritable !== undefined) throw unwritable;
      journal = switched;
      done.push(`journal ${switched.map(({ name, place }) => `${name}@${place}`)}`);
    },
    slaves: () => slaves,
    wanted: () => wanted,
    placeOf: async (namespaceId) => {
      const place = places.get(namespaceId);
      if (place === undefined) throw new Error(`cannot enter ${namespaceId}`);
      return place;
    },
    setMode: async ({ serial, name }, mode) => {
      if (refuse !== undefined) throw refuse;
      done.push(`${name} ${mode}`);
      slaves = slaves.map((one) => (one.serial === serial ? { ...one, mode, vepa: mode === 'vepa' } : one));
    },
    changed: () => changes++,
    warn: (text) => done.push(`warn ${text}`),
  });
}

const round = async (modes: ModeKeeper, anew = false) => {
  modes.reshape(anew);
  for (let i = 0; i < 50; i++) await Promise.resolve();
};

beforeEach(() => {
  slaves = [];
  done = [];
  places = new Map<number | undefined, string>([
    [undefined, OURS],
    [1, 'c1'],
    [2, 'c2'],
  ]);
  wanted = true;
  refuse = undefined;
  unwritable = undefined;
  changes = 0;
});

describe('mode keeper', () => {
  it('all of a round are journalled, with their namespaces, before the first is set; and set back', async () => {
    slaves = [slave(1), slave(2, { namespaceId: 1 }), inBridgeMode(3)];
    const modes = keeper();
    await round(modes);
    expect(done).toEqual([`journal mv1@${OURS},mv2@c1`, 'mv1 bridge', 'mv2 bridge']);
    expect(slaves.map((one) => modes.switched(one))).toEqual([true, true, false]);
    wanted = false;
    await round(modes);
    expect(done.slice(3)).toEqual(['mv1 vepa', 'mv2 vepa', 'journal ']);
    expect(slaves.map(({ mode }) => mode)).toEqual(['vepa', 'vepa', 'bridge']);
  });

  it('a wish is carried out at whatever moment it comes', async () => {
    for (let moment = 0; moment < 40; moment++) {
      slaves = [slave(1)];
      wanted = true;
      const modes = keeper();
      modes.reshape();
      for (let i = 0; i < moment; i++) await Promise.resolve();
      wanted = false;
      await round(modes);
      expect([slaves[0]!.mode, moment]).toEqual(['vepa', moment]);
    }
  });

  it('where it moved to is journalled', async () => {
    slaves = [slave(1)];
    const modes = keeper();
    await round(modes);
    slaves = [inBridgeMode(1, { namespaceId: 2 })];
    await round(modes);
    expect(journal).toMatchObject([{ namespaceId: 2, place: 'c2' }]);
  });

  describe('what an earlier run left', () => {
    const isSetBack = async (of: SwitchedSlave, now: Slave) => {
      wanted = false;
      slaves = [now];
      const modes = keeper([of]);
      await round(modes);
      expect(journal).toEqual([]);
      return slaves[0]!.mode === 'vepa';
    };
    const there = { namespaceId: 1, place: 'c1' };

    it.each<[string, SwitchedSlave, Slave]>([
      ['is set back', left(1), inBridgeMode(7, left(1) as Partial<Slave>)],
      ['elsewhere too', left(1, there), inBridgeMode(1, { namespaceId: 1 })],
      ['with another name', left(1), inBridgeMode(1, { name: 'x' })],
      ['with another address', left(1), inBridgeMode(1, { mac: '52:54:00:00:00:77' as never })],
      ['when it was moved from here', left(1), inBridgeMode(1, { namespaceId: 2, name: 'eth0' })],
      [
        'when its namespace cannot be asked for its name',
        left(1, { namespaceId: 5, place: 'c5' }),
        inBridgeMode(1, { namespaceId: 5 }),
      ],
    ])('%s', async (_, of, now) => expect(await isSetBack(of, now)).toBe(true));

    it.each<[string, SwitchedSlave, Slave]>([
      ['made anew', left(1), inBridgeMode(1, { index: 99 })],
      ['made anew elsewhere', left(1), inBridgeMode(1, { index: 2, namespaceId: 1 })],
      [
        'made anew in a namespace with the number of one that ended',
        left(1, { namespaceId: 1, place: 'ended' }),
        inBridgeMode(1, { namespaceId: 1 }),
      ],
      [
        'made anew in another namespace than that of an engine',
        left(1, there),
        inBridgeMode(1, { namespaceId: 2 }),
      ],
      ['of a run in another namespace', left(1, { place: 'another' }), inBridgeMode(1)],
      ['that has its index only', left(1), inBridgeMode(2, { index: 11 })],
      ['that somebody else has set to another mode', left(1), slave(1, { mode: 'private' })],
    ])('is none: one %s', async (_, of, now) => expect(await isSetBack(of, now)).toBe(false));

    it('is taken for switched until it is known better, and then said to be another', async () => {
      slaves = [inBridgeMode(1, { namespaceId: 1 })];
      const modes = keeper([left(1, { namespaceId: 1, place: 'ended' })]);
      expect(modes.switched(slaves[0]!)).toBe(true);
      await round(modes);
      expect([modes.switched(slaves[0]!), changes]).toEqual([false, 1]);
    });
  });

  describe('what is refused', () => {
    it('is said once for what comes and goes, whatever its name; for another cause, or anew, again', async () => {
      const refused = (serial: number, code: string) => {
        slaves = [slave(serial)];
        refuse = new KernelError(`set mv${serial} to macvlan mode bridge`, code, 'no');
      };
      const said = () => done.filter((what) => what.startsWith('warn')).length;
      const modes = keeper();
      for (let serial = 1; serial < 5; serial++) {
        refused(serial, 'EOPNOTSUPP');
        await round(modes);
      }
      expect(said()).toBe(1);
      refused(5, 'EBUSY');
      await round(modes);
      expect(said()).toBe(2);
      await round(modes, true);
      expect(said()).toBe(3);
    });

    it('is said once for all slaves, shown for each, and not tried again until something is another', async () => {
      slaves = [slave(1, { namespaceId: 1 }), slave(2, { namespaceId: 1 }), slave(3)];
      let tries = 0;
      places = {
        get: (id: number | undefined) => {
          if (id === undefined) return OURS;
          tries++;
          throw new Error('no CAP_SYS_ADMIN');
        },
      } as typeof places;
      const modes = keeper();
      await round(modes);
      await round(modes);
      expect(done.filter((what) => what.startsWith('warn'))).toEqual(['warn no CAP_SYS_ADMIN']);
      expect(tries).toBe(2);
      expect(slaves.map((one) => modes.refusal(one))).toEqual([
        'no CAP_SYS_ADMIN',
        'no CAP_SYS_ADMIN',
        undefined,
      ]);
      slaves = [{ ...slaves[0]!, mac: '52:54:00:00:00:77' as never }, ...slaves.slice(1)];
      await round(modes);
      expect(tries).toBe(3);
      await round(modes, true);
      expect(tries).toBe(5);
      wanted = false;
      await round(modes);
      expect(slaves.map((one) => modes.refusal(one))).toEqual([undefined, undefined, undefined]);
    });

    it('leaves in the journal what could not be set back', async () => {
      slaves = [slave(1, { namespaceId: 1 })];
      const modes = keeper();
      await round(modes);
      wanted = false;
      refuse = new Error('not permitted');
      await round(modes);
      expect(journal).toHaveLength(1);
      expect(modes.refusal(slaves[0]!)).toBe('not permitted');
      for (let i = 0; i < 2; i++) await expect(modes.restore()).rejects.toThrow('not permitted');
      expect(journal).toHaveLength(1);
      refuse = undefined;
      await modes.restore();
      expect([journal, slaves[0]!.mode]).toEqual([[], 'vepa']);
    });

    it('by the journal is no restoring', async () => {
      slaves = [slave(1)];
      const modes = keeper();
      await round(modes);
      unwritable = new Error('the disk is full');
      await expect(modes.restore()).rejects.toThrow('the disk is full');
      unwritable = undefined;
      await modes.restore();
      expect([journal, slaves[0]!.mode]).toEqual([[], 'vepa']);
    });

    it('is not in the journal when it could not be set at all', async () => {
      slaves = [slave(1)];
      refuse = new Error('gone');
      await round(keeper());
      expect(journal).toEqual([]);
    });
  });
});

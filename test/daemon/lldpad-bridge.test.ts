/** evbd as the station with Debian's lldpad as the bridge, on a veth pair. */

import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Capture } from '../support/capture.ts';
import { LLDPAD_PROGRAMS, Lldpad } from '../support/lldpad.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: LLDPAD_PROGRAMS });

const BRIDGE = ['evbmode=bridge', 'evbrrcap=yes', 'evbgpid=yes'];
/** Keepalives every 2.6 s, and given up after 4 s: exponents of both, the larger ones count. Its ECP bears a busy machine. */
const QUICK_BRIDGE = [...BRIDGE, 'vdprwd=18', 'vdprka=18', 'ecprte=11'];
const QUICK = 'uplinks: { eth1: { group-ids: true, vdp: { rwd: 18, rka: 18 } } }';

const NUMBERS = ['--manager', '12', '--type', '0x123456', '--type-version', '33'];
const ID = '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359';
const GUEST = ['--id', ID, '--filter', '52:54:00:0a:0b:0c/42', ...NUMBERS];

let world: World;
let station: Host;
let lldpad: Lldpad;
let wire: Capture;

afterEach(() => world?.end());

/** Relay is negotiated afterwards, and lldpad ready for VSIs; the capture is its end of the wire. */
async function connect(uplinks: string, settings: readonly string[]): Promise<void> {
  world = await World.joined();
  wire = await Capture.start(world, 'br', 'swp1');
  lldpad = await Lldpad.start(world, 'br', 'swp1', settings);
  station = await Host.create(world, 'sta', uplinks);
  await station.start();
  await station.must('wait', 'eth1', 'relay');
  await lldpad.steady();
}

const states = async () => (await station.vsis()).map(({ state }) => state);
const ids = async () => (await station.vsis()).map(({ id }) => id as string);
const stationMac = async () => (await station.link('eth1')).mac as string;
/** What lldpad said of a VSI, from the first frame on. */
const answers = async (id: string) => {
  const mac = await stationMac();
  return (await wire.vsis(id)).filter(({ source }) => source !== mac);
};
/** The same, once such an answer is among them: the capture lags behind the daemons. */
const captured = (id: string, last: string) =>
  eventually(
    () => answers(id),
    (said) => said.some(({ request, status }) => request === last && status?.ack === true),
    `an answer of lldpad to ${last}`,
  );
describe.runIf(ready)('lldpad as the bridge', { timeout: 90_000 }, () => {
  it('negotiates relay, and associates and deassociates a VSI', async () => {
    await connect('uplinks: { eth1: {} }', BRIDGE);
    expect(await station.link('eth1')).toMatchObject({ relay: 'active', protocol: 'ratified' });
    expect(lldpad.neighbour()).toMatch(/station:.*rrreq/);

    await station.must('associate', 'eth1', ...GUEST);
    expect(await station.vsis()).toMatchObject([
      { id: ID, state: 'associated', filters: [{ mac: '52:54:00:0a:0b:0c', vid: 42 }] },
    ]);
    await station.must('deassociate', ID);
    expect(await station.vsis()).toEqual([]);
    const said = await captured(ID, 'deassociate');
    expect(said[0]).toMatchObject({ request: 'associate', status: { ack: true, error: 0 } });
    expect(said.at(-1)).toMatchObject({ request: 'deassociate', status: { ack: true, error: 0 } });
  });

  it('takes VSIs of every filter format from preassociate over reserve to associate', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    const formats: [format: number, filters: string[]][] = [
      [1, ['42']],
      [2, ['52:54:00:0a:0b:0c/42']],
      // lldpad sends it back with its sign extended.
      [3, ['42/4275878552']],
      [4, ['52:54:00:0a:0b:0c/42/7']],
      [2, ['52:54:00:0a:0b:0c/43', '52:54:00:0a:0b:0d/43', '52:54:00:0a:0b:0e/43@5']],
      [4, ['52:54:00:0a:0b:0c/43/7', '52:54:00:0a:0b:0d/44/8']],
    ];
    const ids = formats.map((_, i) => `9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e30${i}`);
    const vsis = formats.map(([, filters], i) => [
      ...['eth1', '--id', ids[i]!, ...filters.flatMap((filter) => ['--filter', filter])],
      ...NUMBERS,
    ]);
    for (const [verb, state] of [
      [['preassociate'], 'preassociated'],
      [['preassociate', '--reserve'], 'reserved'],
      [['associate'], 'associated'],
    ] as const) {
      for (const vsi of vsis) await station.must(...verb, ...vsi);
      expect(await states()).toEqual(ids.map(() => state));
    }
    await wire.granted(ids, 2);
    expect(await states()).toEqual(ids.map(() => 'associated'));
    for (const id of ids) await station.must('deassociate', id);
    expect(await station.vsis()).toEqual([]);

    for (const [i, [format, filters]] of formats.entries()) {
      const said = (await captured(ids[i]!, 'deassociate')).filter(({ status }) => status?.ack);
      for (const answer of said) {
        expect(answer).toMatchObject({ filterFormat: format });
        expect(answer.filters.map(({ mac, vid, group }) => ({ mac, vid, group }))).toEqual(
          filters.map(filterText),
        );
      }
      const requests = said.map(({ request }) => request);
      const chain = requests.filter((request, at) => request !== requests[at - 1]);
      expect(chain).toEqual(['preassociate', 'reserve', 'associate', 'deassociate']);
    }
  });

  it('has the largest VSI that a TLV holds', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    const macs = Array.from({ length: 60 }, (_, i) => `52:54:00:00:01:${i.toString(16).padStart(2, '0')}`);
    const filters = macs.flatMap((mac) => ['--filter', `${mac}/10`]);
    await station.must('associate', 'eth1', '--id', ID, ...filters, ...NUMBERS);
    expect((await captured(ID, 'associate'))[0]!.filters.map(({ mac }) => mac)).toEqual(macs);
    // What follows is shorter, and lldpad's parser reads on behind it (interop-notes.md 10, row 1).
    await station.must('associate', 'eth1', '--mac', '52:54:00:0a:0b:0c', '--vlan', '42', ...NUMBERS);
    await wire.granted([ID], 2);
    expect(await states()).toEqual(['associated', 'associated']);
  });

  it('leaves a VID open when it is left to it, and is told so again', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    await station.must(
      'associate',
      'eth1',
      '--id',
      ID,
      '--mac',
      '52:54:00:0a:0b:0c',
      '--vlan',
      '0',
      ...NUMBERS,
    );
    await wire.granted([ID], 2);
    expect(await station.vsis()).toMatchObject([{ state: 'associated', filters: [{ vid: 0 }] }]);
  });

  it('is not asked for groups that it does not support', async () => {
    await connect(QUICK, ['evbmode=bridge', 'evbrrcap=yes', 'evbgpid=no']);
    const { status, stderr } = await station.evbctl('associate', 'eth1', '--filter', '42/7', ...NUMBERS);
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining('group ids') });
    expect(await wire.vsis()).toEqual([]);
  });

  it('says that it cannot reflect', async () => {
    world = await World.joined();
    lldpad = await Lldpad.start(world, 'br', 'swp1', ['evbmode=bridge', 'evbrrcap=no']);
    station = await Host.create(world, 'sta', 'uplinks: { eth1: {} }');
    await station.start();
    await station.must('wait', 'eth1', 'negotiated');
    const { status } = await station.evbctl('wait', 'eth1', 'relay');
    expect(status).toBe(1);
    expect(await station.link('eth1')).toMatchObject({ relay: 'refused' });
  });

  it('is recognized, and associates 100 VSIs that are asked for at once', async () => {
    await connect('uplinks: { eth1: {} }', BRIDGE);
    await associateMany(100);
    expect(station.log).toContain('the bridge is lldpad');
  });

  it('is killed and started again: all VSIs are associated without anybody asking', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    await associateMany(20);
    const held = await ids();
    await lldpad.kill();
    const before = (await wire.frames()).length;
    await lldpad.restart();
    const mac = await stationMac();
    await eventually(
      async () => {
        const since = (await wire.frames()).slice(before).filter(({ source }) => source !== mac);
        const granted = since
          .flatMap(({ vdp }) => vdp?.vsis ?? [])
          .filter(({ request, status }) => request === 'associate' && status?.error === 0);
        return new Set(granted.map(({ id }) => id)).size;
      },
      (count) => count === held.length,
      'VSIs granted by the new lldpad',
    );
    await eventually(states, (all) => all.every((state) => state === 'associated'), 'states');
    expect(await ids()).toEqual(held);
  });

  it('is gone for so long that the VSIs end, and gets them back', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    await associateMany(5);
    await lldpad.kill();
    await eventually(states, (all) => all.every((state) => state === 'associating'), 'given up');
    await lldpad.restart();
    await eventually(states, (all) => all.every((state) => state === 'associated'), 'associated again');
    await wire.granted(await ids(), 1);
  });

  it('is left by a station that was killed: the VSIs live on with the next one', async () => {
    // Started again within toutKeepAlive, which leaves it 5 s here, however busy the machine is.
    await connect('uplinks: { eth1: {} }', BRIDGE);
    await associateMany(10);
    const held = await ids();
    await station.stop('SIGKILL');
    const before = (await wire.vsis()).length;
    await station.start();
    expect(await ids()).toEqual(held);
    await wire.granted(held, 1);
    expect(await states()).toEqual(held.map(() => 'associated'));
    const since = (await wire.vsis()).slice(before);
    expect(new Set(since.map(({ request }) => request))).toEqual(new Set(['associate']));
  });

  it('ends a VSI late that was deassociated, which does not end the same VSI associated meanwhile', async () => {
    await connect(QUICK, QUICK_BRIDGE);
    await station.must('associate', 'eth1', ...GUEST);
    await station.must('deassociate', ID);
    const unsolicited = async () =>
      (await answers(ID)).filter(({ request, status }) => request === 'deassociate' && !status?.ack);
    await eventually(unsolicited, ({ length }) => length === 1, 'the late DeAssociate');
    await station.must('associate', 'eth1', ...GUEST);
    await station.must('deassociate', ID);
    await station.must('associate', 'eth1', ...GUEST);
    await wire.granted([ID], 3);
    expect(await states()).toEqual(['associated']);
    expect(await unsolicited()).toHaveLength(1);
  });

  describe('holds a VSI whose filters are to be others', () => {
    const BOTH = [...GUEST, '--filter', '52:54:00:0a:0b:0d/43'];
    const filters = async () => (await station.vsis()).map((vsi) => [vsi.state, vsi.filters.length]);
    /** What was said of the VSI: by whom, the request, and the number of filters. Repetitions are left out. */
    const told = async () => {
      const mac = await stationMac();
      const all = (await wire.vsis(ID)).map(({ source, request, filters: { length } }) => {
        return `${source === mac ? 'station' : 'lldpad'} ${request} ${length}`;
      });
      return all.filter((text, i) => text !== all[i - 1]);
    };

    it('and gets them when it has forgotten it', async () => {
      await connect(QUICK, QUICK_BRIDGE);
      await station.must('associate', 'eth1', ...GUEST);
      await station.must('associate', 'eth1', ...BOTH);
      expect(await filters()).toEqual([['associated', 2]]);
      const change = async () => (await told()).slice((await told()).indexOf('station deassociate 1'));
      expect((await eventually(change, ({ length }) => length >= 4, 'frames')).slice(0, 4)).toEqual([
        'station deassociate 1',
        'lldpad deassociate 1',
        'station associate 2',
        'lldpad associate 2',
      ]);
      await wire.granted([ID], 2);
      expect(await filters()).toEqual([['associated', 2]]);
      await station.must('associate', 'eth1', ...GUEST, '--filter', '52:54:00:0a:0b:0d/43@5');
      await wire.granted([ID], 2);
      expect(await station.vsis()).toMatchObject([{ state: 'associated', filters: [{}, { pcp: 5 }] }]);
    });

    it('and whoever cannot wait for it is told so, and has them later', async () => {
      await connect(QUICK, QUICK_BRIDGE);
      await station.must('associate', 'eth1', ...GUEST);
      const { status, stderr } = await station.evbctl('associate', 'eth1', ...BOTH, '--timeout', '1');
      expect({ status, stderr }).toMatchObject({ status: 4, stderr: expect.stringContaining('lldpad') });
      await eventually(filters, ([vsi]) => vsi?.join() === 'associated,2', 'filters');
      await wire.granted([ID], 2);
      expect(await filters()).toEqual([['associated', 2]]);
    });

    it('and gets them from the next station when this one is killed meanwhile', async () => {
      await connect(QUICK, QUICK_BRIDGE);
      await station.must('associate', 'eth1', ...GUEST);
      await station.evbctl('associate', 'eth1', ...BOTH, '--timeout', '1');
      await station.stop('SIGKILL');
      await station.start();
      await eventually(filters, ([vsi]) => vsi?.join() === 'associated,2', 'filters');
      await wire.granted([ID], 2);
      expect(await filters()).toEqual([['associated', 2]]);
    });

    it('and gets them at once with another type, which its late word on the first does not disturb', async () => {
      await connect(QUICK, QUICK_BRIDGE);
      await station.must('associate', 'eth1', ...GUEST);
      const other = BOTH.map((word) => (word === '0x123456' ? '0x123457' : word));
      await station.must('associate', 'eth1', ...other);
      await eventually(
        async () => (await told()).includes('lldpad deassociate 1'),
        (late) => late,
        'the late DeAssociate',
      );
      await wire.granted([ID], 2);
      expect(await station.vsis()).toMatchObject([{ state: 'associated', type: 0x123457 }]);
      expect((await told()).filter((text) => text.startsWith('station deassociate'))).toEqual([]);
    });
  });

  it('keeps what it holds while our end of the wire is down for a moment', async () => {
    // Nothing is under way when the link falls: keepalives come every 10 s.
    await connect('uplinks: { eth1: {} }', BRIDGE);
    await associateMany(5);
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'down');
    await eventually(
      () => station.link('eth1'),
      ({ relay }) => relay === 'no-peer',
      'the link is down',
    );
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
    await wire.granted(await ids(), 1);
    await eventually(states, (all) => all.every((state) => state === 'associated'), 'associated');
  });
});

/** All together, and all granted. */
async function associateMany(count: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => {
    const mac = `52:54:00:00:00:${(i + 1).toString(16).padStart(2, '0')}`;
    return JSON.stringify({ mac, vlan: i + 2, manager: '12', type: 5, 'type-version': 4 });
  });
  const file = `${world.folder}/vsis`;
  writeFileSync(file, lines.join('\n'));
  await station.must('associate', 'eth1', '--from', file, '--timeout', '60');
  expect(await states()).toEqual(Array.from({ length: count }, () => 'associated'));
}

/** [MAC/]VID[/GROUP][@PCP] as a capture shows it. */
function filterText(text: string) {
  const parts = text.split('@')[0]!.split('/');
  const mac = parts[0]!.includes(':') ? parts.shift()! : null;
  const [vid, group] = parts.map(Number);
  return { mac, vid, group: group ?? null };
}

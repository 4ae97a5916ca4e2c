import { describe, expect, test } from 'vitest';
import {
  type FilterEntry,
  type ResourceResult,
  tlvOf,
  type VdpRequest,
  VsiBridge,
  type VsiBridgeEffect,
  type VsiCommand,
  vdpTimers,
} from '../../protocols/vdp/index.ts';
import { type At, runUntil } from '../support/virtual-time.ts';
import { command, filters, MAC_A, MAC_B, OTHER_ATTRIBUTES, RESOURCE, TIMERS, TOUT } from './support.ts';

const machine = () => new VsiBridge(TIMERS);
/** Effects in short, in their order: what is sent with type and status. */
function short(effect: VsiBridgeEffect): string {
  switch (effect.kind) {
    case 'resource':
      return `ask ${effect.command.request}`;
    case 'send':
      return `send ${effect.tlv.request} ${effect.tlv.status.toString(16).padStart(2, '0')}`;
    case 'confirmed':
      return `${effect.keepalive ? 'keepalive' : 'confirmed'} ${effect.command.request}`;
    case 'kept':
      return `kept ${effect.command.request}`;
    case 'ended':
      return 'ended';
  }
}
const told = (effects: VsiBridgeEffect[]) => effects.map(short);
const timed = (effects: At<VsiBridgeEffect>[]) =>
  effects.map((effect, i) => `${effect.at} ${told(effects)[i]}`);
const success = (filterList: FilterEntry[] = filters(42)): ResourceResult => ({
  outcome: 'success',
  filters: filterList,
});

function asked(request: VdpRequest, before?: VdpRequest, more: Partial<VsiCommand> = {}): VsiBridge {
  const vsi = before === undefined ? machine() : holding(before);
  vsi.request(command(request, more), 0);
  return vsi;
}
function holding(request: VdpRequest, more: Partial<VsiCommand> = {}, assigned?: FilterEntry[]): VsiBridge {
  const vsi = machine();
  const wanted = command(request, more);
  vsi.request(wanted, 0);
  vsi.resource(success(assigned ?? wanted.filters), 0);
  return vsi;
}

describe('bridge machine (vdp.md 4)', () => {
  const rows: {
    row: string;
    start: () => VsiBridge;
    event: (vsi: VsiBridge) => VsiBridgeEffect[];
    effects: string[];
    target: string;
    vsiState: string;
  }[] = [
    ...(['preassociate', 'reserve', 'associate'] as const).map((request) => ({
      row: `vdp.md 4 row 1 INIT: rxCmd ${request} -> BRIDGE_PROCESSING`,
      start: machine,
      event: (vsi: VsiBridge) => vsi.request(command(request), 0),
      effects: [`ask ${request}`],
      target: 'BRIDGE_PROCESSING',
      vsiState: 'DeAssoc',
    })),
    {
      row: 'vdp.md 4 row 1 INIT: DeAssoc of an unknown VSI: answered DeAssoc 0x40, no state',
      start: machine,
      event: (vsi) => vsi.request(command('deassociate'), 0),
      effects: ['send deassociate 40', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 3 SUCCESS: (PreAssoc) -> WAIT_STATION_CMD; in force before it is answered',
      start: () => asked('preassociate'),
      event: (vsi) => vsi.resource(success(), 0),
      effects: ['confirmed preassociate', 'send preassociate 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'PreAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 3 SUCCESS: (PreAssocRR)',
      start: () => asked('reserve', 'preassociate'),
      event: (vsi) => vsi.resource(success(), 0),
      effects: ['confirmed reserve', 'send reserve 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'PreAssocRR',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 3 SUCCESS: (Assoc)',
      start: () => asked('associate', 'reserve'),
      event: (vsi) => vsi.resource(success(), 0),
      effects: ['confirmed associate', 'send associate 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 3 SUCCESS: of a downgrade',
      start: () => asked('preassociate', 'associate'),
      event: (vsi) => vsi.resource(success(), 0),
      effects: ['confirmed preassociate', 'send preassociate 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'PreAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 4 KEEP -> WAIT_STATION_CMD, the type of the request, 0x60 or`ed with the error',
      start: () => asked('associate', 'associate', { filters: filters(42, 43) }),
      event: (vsi) => vsi.resource({ outcome: 'keep', error: 3 }, 0),
      effects: ['send associate 63', 'kept associate'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 4 KEEP: where nothing is held is a plain refusal',
      start: () => asked('associate'),
      event: (vsi) => vsi.resource({ outcome: 'keep', error: 3 }, 0),
      effects: ['send deassociate 43', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 5 DEASSOC -> END, refusal under the DeAssoc type',
      start: () => asked('associate'),
      event: (vsi) => vsi.resource({ outcome: 'deassoc', error: 2, hard: false }, 0),
      effects: ['send deassociate 42', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING, row 5 DEASSOC: hard; an earlier association goes too',
      start: () => asked('associate', 'associate', { type: 7 }),
      event: (vsi) => vsi.resource({ outcome: 'deassoc', error: 2, hard: true }, 0),
      effects: ['send deassociate 52', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING: resourceTimer still runs',
      start: () => asked('associate'),
      event: (vsi) => vsi.advance(RESOURCE - 0.01),
      effects: [],
      target: 'BRIDGE_PROCESSING',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 6 TIMEOUT, row 9 DEASSOCIATED: not Assoc: DeAssoc 0x00',
      start: () => asked('associate', 'preassociate'),
      event: (vsi) => vsi.advance(RESOURCE),
      effects: ['send deassociate 00', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 6 TIMEOUT, Assoc -> KEEP with error 4',
      start: () => asked('associate', 'associate', { filters: filters(42, 43) }),
      event: (vsi) => vsi.advance(RESOURCE),
      effects: ['send associate 64', 'kept associate'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 6 TIMEOUT of a DeAssoc -> DEASSOCIATED',
      start: () => asked('deassociate', 'associate'),
      event: (vsi) => vsi.advance(RESOURCE),
      effects: ['send deassociate 00', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 6 TIMEOUT: a result after it is too late',
      start: () => {
        const vsi = asked('associate');
        vsi.advance(RESOURCE);
        return vsi;
      },
      event: (vsi) => vsi.resource(success(), RESOURCE + 1),
      effects: [],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD, row 8 PROCESS_KEEPALIVE: rxCmd equal to operCmd -> WAIT_STATION_CMD',
      start: () => holding('associate'),
      event: (vsi) => vsi.request(command('associate'), 5),
      effects: ['keepalive associate', 'send associate 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD: equal but for its hint is equal: the status is ignored',
      start: () => holding('associate'),
      event: (vsi) => vsi.request(command('associate', { hint: 'to' }), 5),
      effects: ['keepalive associate', 'send associate 40'],
      target: 'WAIT_STATION_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD: rxCmd of another type -> BRIDGE_PROCESSING',
      start: () => holding('preassociate'),
      event: (vsi) => vsi.request(command('associate'), 5),
      effects: ['ask associate'],
      target: 'BRIDGE_PROCESSING',
      vsiState: 'PreAssoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD: DeAssoc -> BRIDGE_PROCESSING',
      start: () => holding('associate'),
      event: (vsi) => vsi.request(command('deassociate'), 5),
      effects: ['ask deassociate'],
      target: 'BRIDGE_PROCESSING',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING (DeAssoc): answer DeAssoc 0x40, release -> END',
      start: () => asked('deassociate', 'associate'),
      event: (vsi) => vsi.resource(success(), 5),
      effects: ['send deassociate 40', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING (DeAssoc): whatever the resource layer says',
      start: () => asked('deassociate', 'associate'),
      event: (vsi) => vsi.resource({ outcome: 'deassoc', error: 4, hard: true }, 5),
      effects: ['send deassociate 40', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD, row 9 DEASSOCIATED: waitWhile = 0 -> END',
      start: () => holding('associate'),
      event: (vsi) => [...vsi.advance(TOUT - 0.01), ...vsi.advance(TOUT)],
      effects: ['send deassociate 00', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 7 WAIT_STATION_CMD, row 9 DEASSOCIATED: bridge-side removal -> END',
      start: () => holding('associate'),
      event: (vsi) => vsi.remove('policy', 5),
      effects: ['send deassociate 00', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 2 BRIDGE_PROCESSING: bridge-side removal of a VSI that is being asked for',
      start: () => asked('associate'),
      event: (vsi) => vsi.remove('policy', 5),
      effects: ['send deassociate 00', 'ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 9 DEASSOCIATED: EVB TLV lost: without sending',
      start: () => holding('associate'),
      event: (vsi) => vsi.lost('gone', 5),
      effects: ['ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 9 DEASSOCIATED: EVB TLV lost while asked, a request queued: nothing remains of either',
      start: () => {
        const vsi = asked('preassociate');
        vsi.request(command('associate'), 1);
        return vsi;
      },
      event: (vsi) => [...vsi.lost('gone', 5), ...vsi.resource(success(), 6)],
      effects: ['ended'],
      target: 'END',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 4 row 10 END: a new request begins anew',
      start: () => {
        const vsi = holding('associate');
        vsi.remove('policy', 5);
        return vsi;
      },
      event: (vsi) => vsi.request(command('associate'), 6),
      effects: ['ask associate'],
      target: 'BRIDGE_PROCESSING',
      vsiState: 'DeAssoc',
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))(
    '%s',
    (_, { start, event, effects, target, vsiState }) => {
      const vsi = start();
      expect(told(event(vsi))).toEqual(effects);
      expect([vsi.state, vsi.vsiState]).toEqual([target, vsiState]);
      if (target === 'END')
        expect([vsi.operCmd, vsi.nextDeadline()]).toEqual([undefined, Number.POSITIVE_INFINITY]);
    },
  );

  test('silence: toutKeepAlive after the last answer, then DeAssoc', () => {
    const vsi = holding('associate');
    vsi.request(command('associate'), 10_000);
    expect(timed(runUntil(vsi, 10_000, 1e6))).toEqual([
      `${10_000 + TOUT} send deassociate 00`,
      `${10_000 + TOUT} ended`,
    ]);
  });

  test('2: changed operational values apply from the next start of a timer', () => {
    const vsi = holding('associate');
    vsi.timers = vdpTimers({ r: 3, rte: 14, rwd: 20, rka: 25 });
    expect(vsi.nextDeadline()).toBe(TOUT);
    vsi.request(command('associate'), 100);
    expect(vsi.nextDeadline()).toBe(100 + vsi.timers.toutKeepAlive);
  });

  test('KEEP: the old operCmd remains, its keepalive is recognised', () => {
    const vsi = asked('associate', 'associate', { filters: filters(42, 43) });
    vsi.resource({ outcome: 'keep', error: 2 }, 0);
    expect(told(vsi.request(command('associate'), 5))).toEqual(['keepalive associate', 'send associate 40']);
  });

  test.each(OTHER_ATTRIBUTES)('equal: not with another %s: a new command for the VSI', (_, more) => {
    const vsi = holding('associate');
    expect(told(vsi.request(command('associate', more), 5))).toEqual(['ask associate']);
    expect(told(vsi.resource(success(more.filters), 6))).toEqual([
      'confirmed associate',
      'send associate 40',
    ]);
    expect(vsi.operCmd).toEqual(command('associate', more));
  });

  test.each(OTHER_ATTRIBUTES)('2.1: DeAssoc with another %s is confirmed and releases nothing', (_, more) => {
    const vsi = holding('associate');
    const deassociate = command('deassociate', more);
    const effects = vsi.request(deassociate, 5);
    expect(told(effects)).toEqual(['send deassociate 40', 'kept associate']);
    // The answer echoes what was asked, not what is in force.
    expect(effects[0]).toMatchObject({
      tlv: { type: deassociate.type, filters: deassociate.filters },
      manager: deassociate.manager,
    });
    expect([vsi.state, vsi.vsiState]).toEqual(['WAIT_STATION_CMD', 'Assoc']);
    expect(vsi.nextDeadline()).toBe(TOUT);
  });

  test('answers go under the manager of the request', () => {
    const manager = new Uint8Array(16).fill(9);
    const vsi = holding('associate', { manager });
    const answers = [
      ...vsi.request(command('associate', { manager }), 1),
      ...vsi.request(command('deassociate', { manager }), 2),
      ...vsi.resource(success(), 3),
    ].flatMap((effect) => (effect.kind === 'send' ? [effect.manager] : []));
    expect(answers).toEqual([manager, manager]);
  });
});

describe('null VIDs (vdp.md 1.5)', () => {
  const wanted = [
    { mac: MAC_A, vid: 0 },
    { mac: MAC_B, vid: 0 },
  ];
  const assigned = [
    { mac: MAC_A, vid: 100 },
    { mac: MAC_B, vid: 200, pcp: 5 },
  ];
  const given = () => holding('associate', { filters: wanted }, assigned);
  const sentFilters = (effects: VsiBridgeEffect[]) =>
    effects.flatMap((effect) => (effect.kind === 'send' ? [effect.tlv.filters] : []));

  test('the response carries the chosen VIDs in the order asked', () => {
    const vsi = asked('associate', undefined, { filters: wanted });
    expect(sentFilters(vsi.resource(success(assigned), 0))).toEqual([assigned]);
    expect(vsi.operCmd?.filters).toEqual(assigned);
  });

  test.each([
    ['null again', wanted],
    ['as assigned', assigned],
  ])('a keepalive with its VIDs %s matches, the answer includes the assigned ones', (_, again) => {
    const effects = given().request(command('associate', { filters: again }), 5);
    expect(told(effects)).toEqual(['keepalive associate', 'send associate 40']);
    expect(sentFilters(effects)).toEqual([assigned]);
  });

  test('a DeAssoc with null VIDs releases', () => {
    expect(told(given().request(command('deassociate', { filters: wanted }), 5))).toEqual([
      'ask deassociate',
    ]);
  });
});

describe('requests while the resource layer works (vdp.md 4.1 row 7: ours queues)', () => {
  test('the latest waits; equal to what was granted it is a keepalive', () => {
    const vsi = asked('associate');
    expect(vsi.request(command('preassociate'), 1)).toEqual([]);
    expect(vsi.request(command('associate'), 2)).toEqual([]);
    expect(told(vsi.resource(success(), 3))).toEqual([
      'confirmed associate',
      'send associate 40',
      'keepalive associate',
      'send associate 40',
    ]);
    expect(told(vsi.request(command('associate'), 4))).toEqual(['keepalive associate', 'send associate 40']);
  });

  test('a DeAssoc waits for the answer and then is processed', () => {
    const vsi = asked('associate');
    vsi.request(command('deassociate'), 1);
    expect(told(vsi.resource(success(), 2))).toEqual([
      'confirmed associate',
      'send associate 40',
      'ask deassociate',
    ]);
    expect(vsi.nextDeadline()).toBe(2 + RESOURCE);
  });

  test('after a refusal it begins anew', () => {
    const vsi = asked('associate');
    vsi.request(command('preassociate'), 1);
    expect(told(vsi.resource({ outcome: 'deassoc', error: 2, hard: false }, 2))).toEqual([
      'send deassociate 42',
      'ended',
      'ask preassociate',
    ]);
    expect(vsi.state).toBe('BRIDGE_PROCESSING');
  });

  test('a DeAssoc queued behind a refusal is still answered', () => {
    const vsi = asked('associate');
    vsi.request(command('deassociate'), 1);
    expect(told(vsi.resource({ outcome: 'deassoc', error: 2, hard: false }, 2))).toEqual([
      'send deassociate 42',
      'ended',
      'send deassociate 40',
      'ended',
    ]);
  });
});

describe('resume after a restart of the daemon', () => {
  test('in force, with a whole toutKeepAlive for the station to confirm', () => {
    const vsi = machine();
    vsi.resume(command('associate'), 1000);
    expect([vsi.state, vsi.vsiState, vsi.nextDeadline()]).toEqual(['WAIT_STATION_CMD', 'Assoc', 1000 + TOUT]);
    expect(told(vsi.request(command('associate'), 2000))).toEqual([
      'keepalive associate',
      'send associate 40',
    ]);
  });

  test('nobody confirms: released', () => {
    const vsi = machine();
    vsi.resume(command('preassociate'), 0);
    expect(told(runUntil(vsi, 0, 1e6))).toEqual(['send deassociate 00', 'ended']);
  });
});

describe('removal where nothing is in force', () => {
  test('in INIT nothing is sent', () => {
    expect(machine().remove('gone', 0)).toEqual([{ kind: 'ended', reason: 'gone' }]);
  });

  test('after a request that nobody decided nothing is sent again', () => {
    const vsi = asked('associate');
    vsi.advance(RESOURCE);
    expect(vsi.remove('gone', RESOURCE)).toEqual([{ kind: 'ended', reason: 'gone' }]);
  });

  test('END has no deadline', () => {
    const vsi = machine();
    vsi.request(command('deassociate'), 0);
    expect([vsi.nextDeadline(), vsi.advance(1e9)]).toEqual([Number.POSITIVE_INFINITY, []]);
  });
});

describe('effects in full', () => {
  const manager = new Uint8Array(16).fill(9);

  test('confirmed, and kept alive', () => {
    const vsi = machine();
    const wanted = command('associate', { manager });
    vsi.request(wanted, 0);
    const granted = vsi.resource({ outcome: 'success', filters: wanted.filters }, 1);
    expect(granted).toEqual([
      { kind: 'confirmed', command: wanted, keepalive: false, reason: 'associate granted' },
      { kind: 'send', tlv: tlvOf(wanted, 0x40), manager },
    ]);
    expect(vsi.request(wanted, 2)).toEqual([
      { kind: 'confirmed', command: wanted, keepalive: true, reason: 'keepalive' },
      { kind: 'send', tlv: tlvOf(wanted, 0x40), manager },
    ]);
    expect(vsi.remove('gone', 3)).toEqual([
      { kind: 'send', tlv: tlvOf({ ...wanted, request: 'deassociate' }, 0), manager },
      { kind: 'ended', reason: 'gone' },
    ]);
  });

  test('DeAssoc of an unknown VSI', () => {
    const wanted = command('deassociate', { manager });
    expect(machine().request(wanted, 0)[0]).toEqual({ kind: 'send', tlv: tlvOf(wanted, 0x40), manager });
  });
});

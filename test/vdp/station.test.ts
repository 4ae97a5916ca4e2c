import { describe, expect, test } from 'vitest';
import {
  type VdpRequest,
  type VsiCommand,
  VsiStation,
  type VsiStationEffect,
  type VsiTlv,
  vdpTimers,
} from '../../protocols/vdp/index.ts';
import { MANAGER_12 } from '../fixtures/vectors.ts';
import { type At, runUntil } from '../support/virtual-time.ts';
import {
  answer,
  command,
  filters,
  KEEPALIVE,
  MAC_A,
  MAC_B,
  OTHER_ATTRIBUTES,
  RESP,
  TIMERS,
} from './support.ts';

const machine = () => new VsiStation(TIMERS);
/** Effects in short, in their order. */
function short(effect: VsiStationEffect): string {
  switch (effect.kind) {
    case 'send':
      return `send ${effect.command.request}`;
    case 'confirmed':
      return `${effect.keepalive ? 'keepalive' : 'confirmed'} ${effect.command.request}`;
    case 'kept':
      return `kept ${effect.command.request}, error ${effect.status.error}`;
    case 'ended':
      return `ended ${effect.end}`;
  }
}
const told = (effects: VsiStationEffect[]) => effects.map(short);
const timed = (effects: At<VsiStationEffect>[]) => effects.map((effect, i) => [effect.at, told(effects)[i]]);
const receive = (vsi: VsiStation, tlv: VsiTlv, now = 0, manager = MANAGER_12) =>
  vsi.receive(tlv, manager, now);

/** The request is out, nothing has come back. */
function asking(request: VdpRequest, before?: VdpRequest): VsiStation {
  const vsi = before === undefined ? machine() : holding(before);
  vsi.command(command(request), 0);
  return vsi;
}
function holding(request: VdpRequest, more: Partial<VsiCommand> = {}): VsiStation {
  const vsi = machine();
  vsi.command(command(request, more), 0);
  receive(vsi, answer(command(request, more)));
  return vsi;
}
function keepingAlive(request: VdpRequest = 'associate'): VsiStation {
  const vsi = holding(request);
  vsi.advance(KEEPALIVE);
  return vsi;
}
function refusedKeepAlive(): VsiStation {
  const vsi = keepingAlive();
  receive(vsi, answer(command('associate'), 0x62), KEEPALIVE);
  return vsi;
}

describe('station machine (vdp.md 3)', () => {
  const rows: {
    row: string;
    start: () => VsiStation;
    event: (vsi: VsiStation) => VsiStationEffect[];
    effects: string[];
    target: string;
    vsiState: string;
  }[] = [
    {
      row: 'vdp.md 3 row 1 INIT: sysCmd -> STATION_PROCESSING',
      start: machine,
      event: (vsi) => vsi.command(command('preassociate'), 0),
      effects: ['send preassociate'],
      target: 'STATION_PROCESSING',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 1 INIT: sysCmd DeAssoc -> INIT, nothing is sent',
      start: machine,
      event: (vsi) => vsi.command(command('deassociate'), 0),
      effects: ['ended asked'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 1 INIT: an answer or a DeAssoc of the bridge is nobody`s (vdp.md 4.1 row 2)',
      start: machine,
      event: (vsi) => [
        ...receive(vsi, answer(command('associate'))),
        ...receive(vsi, answer(command('deassociate'), 0)),
        ...vsi.advance(1e9),
      ],
      effects: [],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 2 STATION_PROCESSING: waitWhile = 0 -> INIT',
      start: () => asking('associate'),
      event: (vsi) => vsi.advance(RESP),
      effects: ['ended timeout'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 2 STATION_PROCESSING: waitWhile still runs -> STATION_PROCESSING',
      start: () => asking('associate'),
      event: (vsi) => vsi.advance(RESP - 0.01),
      effects: [],
      target: 'STATION_PROCESSING',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 2 STATION_PROCESSING (DeAssoc): waitWhile = 0 -> INIT, as asked',
      start: () => asking('deassociate', 'associate'),
      event: (vsi) => vsi.advance(RESP),
      effects: ['ended asked'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 6 WAIT_SYSTEM_CMD: waitWhile = 0 -> TRANSMIT_KEEPALIVE',
      start: () => holding('associate'),
      event: (vsi) => vsi.advance(KEEPALIVE),
      effects: ['send associate'],
      target: 'TRANSMIT_KEEPALIVE',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 6 WAIT_SYSTEM_CMD: waitWhile still runs -> WAIT_SYSTEM_CMD',
      start: () => holding('associate'),
      event: (vsi) => vsi.advance(KEEPALIVE - 0.01),
      effects: [],
      target: 'WAIT_SYSTEM_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 6 WAIT_SYSTEM_CMD: sysCmd DeAssoc -> STATION_PROCESSING',
      start: () => holding('associate'),
      event: (vsi) => vsi.command(command('deassociate'), 0),
      effects: ['send deassociate'],
      target: 'STATION_PROCESSING',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 6 WAIT_SYSTEM_CMD: a late answer -> WAIT_SYSTEM_CMD',
      start: () => holding('associate'),
      event: (vsi) => receive(vsi, answer(command('associate'))),
      effects: [],
      target: 'WAIT_SYSTEM_CMD',
      vsiState: 'Assoc',
    },
    ...(['preassociate', 'reserve', 'associate'] as const).map((request) => ({
      row: `vdp.md 3 row 6 WAIT_SYSTEM_CMD: mode change to ${request} -> STATION_PROCESSING`,
      start: () => holding(request === 'associate' ? 'preassociate' : 'associate'),
      event: (vsi: VsiStation) => vsi.command(command(request), 0),
      effects: [`send ${request}`],
      target: 'STATION_PROCESSING',
      vsiState: request === 'associate' ? 'PreAssoc' : 'Assoc',
    })),
    {
      row: 'vdp.md 3 row 6 WAIT_SYSTEM_CMD: filter change -> STATION_PROCESSING',
      start: () => holding('associate'),
      event: (vsi) => vsi.command(command('associate', { filters: filters(42, 43) }), 0),
      effects: ['send associate'],
      target: 'STATION_PROCESSING',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: success -> WAIT_SYSTEM_CMD',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('associate'))),
      effects: ['keepalive associate'],
      target: 'WAIT_SYSTEM_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: error code 0 with Keep and Hard is success (vdp.md 1.4)',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('associate'), 0x70)),
      effects: ['keepalive associate'],
      target: 'WAIT_SYSTEM_CMD',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: Assoc with error and Keep -> TRANSMIT_DEASSOC',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('associate'), 0x62)),
      effects: ['send deassociate'],
      target: 'TRANSMIT_DEASSOC',
      vsiState: 'Assoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: Assoc with error -> INIT',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('associate'), 0x42)),
      effects: ['ended refused'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: PreAssoc with error and Keep -> INIT',
      start: () => keepingAlive('preassociate'),
      event: (vsi) => receive(vsi, answer(command('preassociate'), 0x62)),
      effects: ['ended refused'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: DeAssoc -> INIT',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('deassociate'), 0x40)),
      effects: ['ended bridge'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: DeAssoc with error -> INIT',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('deassociate'), 0x53)),
      effects: ['ended refused'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: another type -> INIT',
      start: keepingAlive,
      event: (vsi) => receive(vsi, answer(command('preassociate'))),
      effects: ['ended mismatch'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 7 TRANSMIT_KEEPALIVE: waitWhile = 0 -> INIT',
      start: keepingAlive,
      event: (vsi) => vsi.advance(KEEPALIVE + RESP),
      effects: ['ended timeout'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 8 TRANSMIT_DEASSOC: any response -> INIT',
      start: refusedKeepAlive,
      event: (vsi) => receive(vsi, answer(command('deassociate'))),
      effects: ['ended refused'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
    {
      row: 'vdp.md 3 row 8 TRANSMIT_DEASSOC: waitWhile = 0 -> INIT',
      start: refusedKeepAlive,
      event: (vsi) => [...vsi.advance(KEEPALIVE + RESP - 0.01), ...vsi.advance(KEEPALIVE + RESP)],
      effects: ['ended refused'],
      target: 'INIT',
      vsiState: 'DeAssoc',
    },
  ];
  test.each(rows.map((row) => [row.row, row] as const))(
    '%s',
    (_, { start, event, effects, target, vsiState }) => {
      const vsi = start();
      expect(told(event(vsi))).toEqual(effects);
      expect([vsi.state, vsi.vsiState]).toEqual([target, vsiState]);
    },
  );

  test('keepalives: reinitKeepAlive after each answer, respWaitDelay for the answer', () => {
    const vsi = holding('associate');
    expect(timed(runUntil(vsi, 0, KEEPALIVE))).toEqual([[KEEPALIVE, 'send associate']]);
    receive(vsi, answer(command('associate')), KEEPALIVE + 5);
    expect(timed(runUntil(vsi, KEEPALIVE + 5, 1e6))).toEqual([
      [KEEPALIVE + 5 + KEEPALIVE, 'send associate'],
      [KEEPALIVE + 5 + KEEPALIVE + RESP, 'ended timeout'],
    ]);
  });

  test('2: changed operational values apply from the next start of a timer', () => {
    const vsi = holding('associate');
    vsi.timers = vdpTimers({ r: 3, rte: 14, rwd: 20, rka: 15 });
    expect(vsi.nextDeadline()).toBe(KEEPALIVE);
    vsi.advance(KEEPALIVE);
    receive(vsi, answer(command('associate')), KEEPALIVE);
    expect(vsi.nextDeadline()).toBeCloseTo(KEEPALIVE + 327.68, 6);
  });
});

describe('what a success leads through (vdp.md 3)', () => {
  test.each([
    ['vdp.md 3 row 3 PREASSOC_NEW: PreAssoc', 'preassociate', 'PreAssoc'],
    ['vdp.md 3 row 3 PREASSOC_NEW: PreAssocRR', 'reserve', 'PreAssocRR'],
    ['vdp.md 3 row 4 ASSOC_NEW, row 5 ASSOC_COMPLETE: Assoc', 'associate', 'Assoc'],
  ] as const)('%s', (_, request, vsiState) => {
    const vsi = machine();
    const asked = command(request, { filters: [{ mac: MAC_A, vid: 0 }], hint: 'to' });
    vsi.command(asked, 0);
    const given = { ...asked, filters: [{ mac: MAC_A, vid: 7, pcp: 3 }] };
    expect(receive(vsi, answer(given), 5)).toEqual([
      { kind: 'confirmed', command: given, keepalive: false, reason: 'confirmed by the bridge' },
    ]);
    expect([vsi.operCmd, vsi.sysCmd, vsi.vsiState]).toEqual([given, undefined, vsiState]);
    expect([vsi.state, vsi.nextDeadline()]).toEqual(['WAIT_SYSTEM_CMD', 5 + KEEPALIVE]);
  });
});

describe('responses in STATION_PROCESSING (vdp.md 3)', () => {
  const after: Record<string, VdpRequest | undefined> = {
    DeAssoc: undefined,
    PreAssoc: 'preassociate',
    PreAssocRR: 'reserve',
    Assoc: 'associate',
  };
  const rows: [
    row: string,
    asked: VdpRequest,
    before: keyof typeof after,
    type: VdpRequest,
    status: number,
    effects: string[],
    target: string,
  ][] = [
    [
      'vdp.md 3 Response row 1',
      'preassociate',
      'DeAssoc',
      'preassociate',
      0x40,
      ['confirmed preassociate'],
      'PreAssoc',
    ],
    ['vdp.md 3 Response row 1', 'reserve', 'DeAssoc', 'reserve', 0x40, ['confirmed reserve'], 'PreAssocRR'],
    ['vdp.md 3 Response row 2', 'associate', 'DeAssoc', 'associate', 0x40, ['confirmed associate'], 'Assoc'],
    ['vdp.md 3 Response row 1', 'reserve', 'PreAssoc', 'reserve', 0x40, ['confirmed reserve'], 'PreAssocRR'],
    [
      'vdp.md 3 Response row 2',
      'associate',
      'PreAssocRR',
      'associate',
      0x40,
      ['confirmed associate'],
      'Assoc',
    ],
    // The standard's machine goes down as well; lldpad refuses.
    [
      'vdp.md 3 Response row 1',
      'preassociate',
      'Assoc',
      'preassociate',
      0x40,
      ['confirmed preassociate'],
      'PreAssoc',
    ],
    [
      'vdp.md 3 Response row 3',
      'associate',
      'Assoc',
      'associate',
      0x62,
      ['kept associate, error 2'],
      'Assoc',
    ],
    [
      'vdp.md 3 Response row 4',
      'associate',
      'DeAssoc',
      'associate',
      0x62,
      ['send deassociate', 'ended refused'],
      'INIT',
    ],
    [
      'vdp.md 3 Response row 4',
      'associate',
      'PreAssoc',
      'associate',
      0x62,
      ['send deassociate', 'ended refused'],
      'INIT',
    ],
    [
      'vdp.md 3 Response row 4',
      'associate',
      'PreAssocRR',
      'associate',
      0x63,
      ['send deassociate', 'ended refused'],
      'INIT',
    ],
    ['vdp.md 3 Response row 5', 'associate', 'DeAssoc', 'associate', 0x42, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 5', 'associate', 'Assoc', 'associate', 0x42, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 5', 'associate', 'Assoc', 'associate', 0x52, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 5', 'preassociate', 'DeAssoc', 'preassociate', 0x44, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 5', 'reserve', 'PreAssoc', 'reserve', 0x42, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 7', 'preassociate', 'DeAssoc', 'preassociate', 0x64, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 7', 'preassociate', 'Assoc', 'preassociate', 0x64, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 6', 'associate', 'DeAssoc', 'deassociate', 0x42, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 6', 'associate', 'DeAssoc', 'deassociate', 0x52, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 6', 'associate', 'Assoc', 'deassociate', 0x62, ['ended refused'], 'INIT'],
    // Without an error code it is a rejection as well: a resource layer that ran out of time (vdp.md 4).
    ['vdp.md 3 Response row 6', 'associate', 'DeAssoc', 'deassociate', 0x40, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 6', 'associate', 'DeAssoc', 'deassociate', 0x00, ['ended refused'], 'INIT'],
    ['vdp.md 3 Response row 6', 'deassociate', 'Assoc', 'deassociate', 0x40, ['ended asked'], 'INIT'],
    ['vdp.md 3 Response row 6', 'deassociate', 'Assoc', 'deassociate', 0x44, ['ended asked'], 'INIT'],
    ['vdp.md 3 Response row 6', 'deassociate', 'PreAssoc', 'deassociate', 0x00, ['ended asked'], 'INIT'],
    ['vdp.md 3 Response row 8', 'associate', 'DeAssoc', 'preassociate', 0x40, ['ended mismatch'], 'INIT'],
    ['vdp.md 3 Response row 8', 'associate', 'Assoc', 'reserve', 0x62, ['ended mismatch'], 'INIT'],
    ['vdp.md 3 Response row 8', 'preassociate', 'DeAssoc', 'associate', 0x40, ['ended mismatch'], 'INIT'],
    ['vdp.md 3 Response row 8', 'deassociate', 'Assoc', 'associate', 0x40, ['ended mismatch'], 'INIT'],
    // ack = 0 and no DeAssoc: not a response.
    ['vdp.md 3, ack = 0', 'associate', 'DeAssoc', 'associate', 0x00, [], 'STATION_PROCESSING'],
    ['vdp.md 3, ack = 0', 'preassociate', 'DeAssoc', 'preassociate', 0x02, [], 'STATION_PROCESSING'],
  ];
  test.each(rows)('%s: %s from %s, answer %s %i', (_, asked, before, type, status, effects, target) => {
    const vsi = asking(asked, after[before]);
    expect(told(receive(vsi, answer(command(asked), status, { request: type }), 7))).toEqual(effects);
    const reached = vsi.state === 'WAIT_SYSTEM_CMD' ? vsi.vsiState : vsi.state;
    expect(reached).toBe(target);
    if (vsi.state === 'WAIT_SYSTEM_CMD') {
      expect(vsi.nextDeadline()).toBe(7 + KEEPALIVE);
      expect([vsi.operCmd?.request, vsi.sysCmd]).toEqual([asked, undefined]);
    } else if (vsi.state === 'INIT') {
      expect([vsi.vsiState, vsi.operCmd, vsi.nextDeadline()]).toEqual([
        'DeAssoc',
        undefined,
        Number.POSITIVE_INFINITY,
      ]);
    }
  });

  test('Keep: the old operCmd remains in force and is kept alive', () => {
    const vsi = holding('associate');
    vsi.command(command('associate', { filters: filters(42, 43) }), 0);
    receive(vsi, answer(command('associate', { filters: filters(42, 43) }), 0x62), 0);
    const [sent] = vsi.advance(KEEPALIVE);
    expect(sent).toEqual({ kind: 'send', command: command('associate') });
  });

  test.each([
    [0x42, 'the bridge refused: insufficient resources'],
    [0x51, 'the bridge refused: invalid format (hard error)'],
  ])('a refusal says why: status %i', (status, reason) => {
    const [ended] = receive(asking('associate'), answer(command('associate'), status));
    expect(ended).toMatchObject({ kind: 'ended', end: 'refused', reason, status: { error: status & 15 } });
  });

  describe('a response that belongs but does not match', () => {
    const tlv = (status: number, { manager, ...more }: Partial<VsiCommand>): [VsiTlv, Uint8Array] => [
      answer(command('associate'), status, more),
      manager ?? MANAGER_12,
    ];
    test.each(OTHER_ATTRIBUTES)('%s, success: DeAssoc of what was asked, then INIT', (_, more) => {
      const vsi = asking('associate');
      const [octets, manager] = tlv(0x40, more);
      const effects = receive(vsi, octets, 0, manager);
      expect(told(effects)).toEqual(['send deassociate', 'ended mismatch']);
      expect(effects[0]).toEqual({ kind: 'send', command: command('deassociate') });
      expect(vsi.state).toBe('INIT');
    });

    test.each(OTHER_ATTRIBUTES)('%s, error: used as it is', (_, more) => {
      const [octets, manager] = tlv(0x42, more);
      expect(told(receive(asking('associate'), octets, 0, manager))).toEqual(['ended refused']);
    });

    test.each(OTHER_ATTRIBUTES)('%s, success of a keepalive: DeAssoc, then INIT', (_, more) => {
      const vsi = keepingAlive();
      const [octets, manager] = tlv(0x40, more);
      expect(told(receive(vsi, octets, 0, manager))).toEqual(['send deassociate', 'ended mismatch']);
    });
  });
});

describe('commands while an answer is awaited (vdp.md 3)', () => {
  test('queued, the latest counts, evaluated in WAIT_SYSTEM_CMD', () => {
    const vsi = asking('preassociate');
    expect(vsi.command(command('associate'), 1)).toEqual([]);
    expect(vsi.command(command('deassociate'), 2)).toEqual([]);
    expect(told(receive(vsi, answer(command('preassociate')), 3))).toEqual([
      'confirmed preassociate',
      'send deassociate',
    ]);
    expect([vsi.state, vsi.nextDeadline()]).toEqual(['STATION_PROCESSING', 3 + RESP]);
    expect(told(receive(vsi, answer(command('deassociate')), 4))).toEqual(['ended asked']);
  });

  test('evaluated in INIT: asked anew after a refusal', () => {
    const vsi = asking('associate');
    vsi.command(command('associate', { filters: filters(9) }), 1);
    const effects = receive(vsi, answer(command('associate'), 0x42), 3);
    expect(told(effects)).toEqual(['ended refused', 'send associate']);
    expect(effects[1]).toMatchObject({ command: { filters: filters(9) } });
  });

  test('evaluated after a timeout', () => {
    const vsi = keepingAlive();
    vsi.command(command('preassociate'), KEEPALIVE);
    expect(told(vsi.advance(KEEPALIVE + RESP))).toEqual(['ended timeout', 'send preassociate']);
  });

  test('evaluated after a keepalive', () => {
    const vsi = keepingAlive();
    expect(vsi.command(command('deassociate'), KEEPALIVE)).toEqual([]);
    expect(told(receive(vsi, answer(command('associate')), KEEPALIVE))).toEqual([
      'keepalive associate',
      'send deassociate',
    ]);
  });

  test('evaluated once only', () => {
    const vsi = asking('preassociate');
    vsi.command(command('associate'), 1);
    receive(vsi, answer(command('preassociate')), 2);
    expect(told(receive(vsi, answer(command('associate')), 3))).toEqual(['confirmed associate']);
    expect(vsi.state).toBe('WAIT_SYSTEM_CMD');
  });
});

describe('null VIDs (vdp.md 1.5)', () => {
  const asked = command('associate', {
    filters: [
      { mac: MAC_A, vid: 0 },
      { mac: MAC_B, vid: 0 },
    ],
  });
  const assigned = [
    { mac: MAC_A, vid: 100, pcp: 3 },
    { mac: MAC_B, vid: 200 },
  ];
  const given = () => {
    const vsi = machine();
    vsi.command(asked, 0);
    expect(told(receive(vsi, answer(asked, 0x40, { filters: assigned })))).toEqual(['confirmed associate']);
    return vsi;
  };
  const sentFilters = (effects: VsiStationEffect[]) =>
    effects.flatMap((effect) => (effect.kind === 'send' ? [effect.command.filters] : []));

  test('sent as they are until the bridge has chosen', () => {
    expect(sentFilters(machine().command(asked, 0))).toEqual([asked.filters]);
  });

  test('then verbatim: keepalive, mode change, DeAssoc', () => {
    expect(sentFilters(given().advance(KEEPALIVE))).toEqual([assigned]);
    expect(sentFilters(given().command({ ...asked, request: 'preassociate' }, 0))).toEqual([assigned]);
    expect(sentFilters(given().command({ ...asked, request: 'deassociate' }, 0))).toEqual([assigned]);
  });

  test('then verbatim for the entries that a filter change keeps, wherever they stand', () => {
    const more = { mac: '52:54:00:00:00:0c' as typeof MAC_A, vid: 0 };
    const changed = { ...asked, filters: [more, asked.filters[1]!, asked.filters[0]!] };
    expect(sentFilters(given().command(changed, 0))).toEqual([[more, assigned[1], assigned[0]]]);
    const fewer = { ...asked, filters: [asked.filters[1]!] };
    expect(sentFilters(given().command(fewer, 0))).toEqual([[assigned[1]]]);
  });

  test('an assigned VID is given to one entry only, and not to one that names another', () => {
    const vsi = holding('associate', { filters: [{ vid: 100 }] });
    const changed = command('associate', { filters: [{ vid: 0 }, { vid: 100 }] });
    expect(sentFilters(vsi.command(changed, 0))).toEqual([[{ vid: 0 }, { vid: 100 }]]);
    const other = command('associate', {
      filters: [
        { mac: MAC_A, vid: 7 },
        { mac: MAC_B, vid: 0 },
      ],
    });
    expect(sentFilters(given().command(other, 0))).toEqual([[{ mac: MAC_A, vid: 7 }, assigned[1]]]);
  });

  test('another VID in the answer to a keepalive ends the VSI', () => {
    const vsi = given();
    vsi.advance(KEEPALIVE);
    const changed = [assigned[0]!, { mac: MAC_B, vid: 201 }];
    expect(told(receive(vsi, answer(asked, 0x40, { filters: changed }), KEEPALIVE))).toEqual([
      'send deassociate',
      'ended mismatch',
    ]);
  });

  test('a bridge that returns VID 0 means untagged', () => {
    const vsi = machine();
    vsi.command(asked, 0);
    receive(vsi, answer(asked));
    expect(vsi.operCmd?.filters).toEqual(asked.filters);
  });

  test('VIDs that come with a keepalive only are news', () => {
    const vsi = machine();
    vsi.command(asked, 0);
    receive(vsi, answer(asked));
    vsi.advance(KEEPALIVE);
    const effects = receive(vsi, answer(asked, 0x40, { filters: assigned }), KEEPALIVE);
    expect(told(effects)).toEqual(['confirmed associate']);
    expect(vsi.operCmd?.filters).toEqual(assigned);
  });
});

describe('unsolicited DeAssoc (vdp.md 3.1)', () => {
  test.each([
    ['ack 0', 0x00],
    ['ack 1', 0x40],
    ['any status', 0x53],
  ])('in WAIT_SYSTEM_CMD, %s: INIT, the owner is told', (_, status) => {
    for (const request of ['preassociate', 'associate'] as const) {
      const vsi = holding(request);
      expect(told(receive(vsi, answer(command('deassociate'), status)))).toEqual(['ended bridge']);
      expect([vsi.state, vsi.vsiState, vsi.operCmd]).toEqual(['INIT', 'DeAssoc', undefined]);
    }
  });

  test('and the VSI can be asked for again', () => {
    const vsi = holding('associate');
    receive(vsi, answer(command('deassociate'), 0));
    expect(told(vsi.command(command('associate'), 1))).toEqual(['send associate']);
  });
});

describe('refresh and resume (evb-tlv.md 1.8)', () => {
  test.each([
    ['INIT', machine, [], 'INIT'],
    ['STATION_PROCESSING', () => asking('reserve'), ['send reserve'], 'STATION_PROCESSING'],
    [
      'STATION_PROCESSING, DeAssoc',
      () => asking('deassociate', 'associate'),
      ['send deassociate'],
      'STATION_PROCESSING',
    ],
    ['WAIT_SYSTEM_CMD', () => holding('associate'), ['send associate'], 'TRANSMIT_KEEPALIVE'],
    ['TRANSMIT_KEEPALIVE', keepingAlive, ['send associate'], 'TRANSMIT_KEEPALIVE'],
    ['TRANSMIT_DEASSOC', refusedKeepAlive, ['send deassociate'], 'TRANSMIT_DEASSOC'],
  ] as [string, () => VsiStation, string[], string][])('refresh in %s', (_, start, effects, target) => {
    const vsi = start();
    expect(told(vsi.refresh(50_000))).toEqual(effects);
    expect(vsi.state).toBe(target);
    expect(vsi.nextDeadline()).toBe(effects.length > 0 ? 50_000 + RESP : Number.POSITIVE_INFINITY);
  });

  test('resume: in force, the first keepalive is due at once', () => {
    const vsi = machine();
    const inForce = command('associate', { filters: [{ mac: MAC_A, vid: 100, pcp: 3 }] });
    vsi.resume(inForce, 500);
    expect([vsi.state, vsi.vsiState, vsi.nextDeadline()]).toEqual(['WAIT_SYSTEM_CMD', 'Assoc', 500]);
    expect(vsi.advance(500)).toEqual([{ kind: 'send', command: inForce }]);
    expect(vsi.nextDeadline()).toBe(500 + RESP);
  });

  test.each([
    ['STATION_PROCESSING', () => asking('associate')],
    ['WAIT_SYSTEM_CMD', () => holding('associate')],
    ['TRANSMIT_KEEPALIVE', keepingAlive],
  ] as [string, () => VsiStation][])('reset in %s: INIT, what was queued is forgotten', (_, start) => {
    const vsi = start();
    if (vsi.state !== 'WAIT_SYSTEM_CMD') vsi.command(command('preassociate'), 0);
    vsi.reset();
    expect([vsi.state, vsi.vsiState, vsi.operCmd, vsi.sysCmd, vsi.nextDeadline()]).toEqual([
      'INIT',
      'DeAssoc',
      undefined,
      undefined,
      Number.POSITIVE_INFINITY,
    ]);
    vsi.command(command('associate'), 1);
    expect(told(receive(vsi, answer(command('associate')), 2))).toEqual(['confirmed associate']);
  });
});

describe('DeAssociates that are about something else', () => {
  test('the answer to a DeAssociate sent in passing does not refuse the next request', () => {
    const vsi = asking('associate');
    vsi.command(command('associate', { filters: filters(43) }), 0);
    // A success that confirms other attributes: DeAssociate, INIT, and on with the queued request.
    const effects = receive(vsi, answer(command('associate', { type: 7 })));
    expect(told(effects)).toEqual(['send deassociate', 'ended mismatch', 'send associate']);
    expect(told(receive(vsi, answer(command('deassociate'))))).toEqual([]);
    expect(vsi.state).toBe('STATION_PROCESSING');
  });

  test.each(OTHER_ATTRIBUTES)('a late one with another %s leaves the association', (_what, more) => {
    const vsi = holding('associate');
    const { manager = MANAGER_12 } = more;
    const late = { ...answer(command('deassociate', more)), status: 0 };
    expect(receive(vsi, late, 0, manager)).toEqual([]);
    expect(vsi.vsiState).toBe('Assoc');
    expect(told(receive(vsi, { ...answer(command('deassociate')), status: 0 }))).toEqual(['ended bridge']);
  });
});

describe('what is asked already (vdp.md 3: a new sysCmd is queued)', () => {
  test('is not asked twice; it takes the place of what was to follow', () => {
    const vsi = asking('associate');
    vsi.command(command('preassociate'), 1);
    expect(vsi.command(command('associate'), 2)).toEqual([]);
    expect(told(receive(vsi, answer(command('associate')), 3))).toEqual(['confirmed associate']);
  });

  test('what is in force is asked again when something else is under way', () => {
    const vsi = asking('associate', 'preassociate');
    vsi.command(command('preassociate'), 1);
    expect(told(receive(vsi, answer(command('associate')), 2))).toEqual([
      'confirmed associate',
      'send preassociate',
    ]);
  });

  test('what a keepalive asks is not asked again after it', () => {
    const vsi = keepingAlive();
    vsi.command(command('associate'), KEEPALIVE);
    expect(told(receive(vsi, answer(command('associate')), KEEPALIVE))).toEqual(['keepalive associate']);
  });

  test('with other attributes it is', () => {
    const vsi = keepingAlive();
    vsi.command(command('associate', { filters: filters(42, 43) }), KEEPALIVE);
    expect(told(receive(vsi, answer(command('associate')), KEEPALIVE))).toEqual([
      'keepalive associate',
      'send associate',
    ]);
  });

  test('what is being given up is asked again after it', () => {
    const vsi = refusedKeepAlive();
    vsi.command(command('associate'), KEEPALIVE);
    expect(told(receive(vsi, answer(command('deassociate')), KEEPALIVE))).toEqual([
      'ended refused',
      'send associate',
    ]);
  });

  test('one DeAssoc is like another', () => {
    const vsi = asking('deassociate', 'associate');
    vsi.command(command('deassociate', { filters: filters(42, 43) }), 1);
    expect(told(receive(vsi, answer(command('deassociate')), 2))).toEqual(['ended asked']);
  });

  test('a DeAssoc goes out without a hint', () => {
    const vsi = holding('associate', { hint: 'to' });
    expect(vsi.command(command('deassociate'), 0)).toEqual([
      { kind: 'send', command: command('deassociate') },
    ]);
  });
});

describe('what holds', () => {
  const wanted = command('associate');
  test.each([
    ['INIT', machine, false],
    ['STATION_PROCESSING', () => asking('associate'), false],
    ['STATION_PROCESSING on top of it', () => asking('preassociate', 'associate'), false],
    ['WAIT_SYSTEM_CMD', () => holding('associate'), true],
    ['WAIT_SYSTEM_CMD, another mode', () => holding('preassociate'), false],
    ['WAIT_SYSTEM_CMD, other attributes', () => holding('associate', { filters: filters(42, 43) }), false],
    ['TRANSMIT_KEEPALIVE', () => keepingAlive(), true],
    [
      'TRANSMIT_KEEPALIVE, something queued',
      () => {
        const vsi = keepingAlive();
        vsi.command(command('preassociate'), KEEPALIVE);
        return vsi;
      },
      false,
    ],
    ['TRANSMIT_DEASSOC', refusedKeepAlive, false],
  ])('%s', (_, start, holds) => expect(start().holds(wanted)).toBe(holds));
});

describe('what is awaited', () => {
  test.each([
    ['INIT', machine, undefined],
    ['STATION_PROCESSING', () => asking('reserve', 'associate'), 'reserve'],
    ['WAIT_SYSTEM_CMD', () => holding('associate'), undefined],
    ['TRANSMIT_KEEPALIVE', () => keepingAlive(), 'associate'],
    ['TRANSMIT_DEASSOC', refusedKeepAlive, 'deassociate'],
  ])('%s', (_, start, request) => expect(start().awaiting?.request).toBe(request));

  test('TRANSMIT_DEASSOC: a DeAssoc of what was in force, for respWaitDelay', () => {
    const vsi = keepingAlive();
    expect(receive(vsi, answer(command('associate'), 0x62), KEEPALIVE)).toEqual([
      { kind: 'send', command: command('deassociate') },
    ]);
    expect(vsi.awaiting).toEqual(command('deassociate'));
    expect(vsi.nextDeadline()).toBe(KEEPALIVE + RESP);
  });
});

describe('a DeAssoc that was sent in passing', () => {
  /** The bridge confirmed something else; it was told to give that up, and is asked anew. */
  const askedAnew = () => {
    const vsi = asking('associate');
    receive(vsi, answer(command('associate'), 0x40, { type: 7 }), 0);
    vsi.command(command('associate'), 1);
    return vsi;
  };
  const deassoc = (status: number) => answer(command('deassociate'), status);

  test('its answer is not about the next request, once', () => {
    const vsi = askedAnew();
    expect(receive(vsi, deassoc(0x40), 2)).toEqual([]);
    expect(told(receive(vsi, deassoc(0x40), 3))).toEqual(['ended refused']);
  });

  test('the confirmation of the next request is', () => {
    expect(told(receive(askedAnew(), answer(command('associate')), 2))).toEqual(['confirmed associate']);
  });

  test.each([0x42, 0x00])('a refusal of the next request is: status %i', (status) => {
    expect(told(receive(askedAnew(), deassoc(status), 2))).toEqual(['ended refused']);
  });

  test('a late answer leaves what is in force, once', () => {
    const vsi = askedAnew();
    receive(vsi, answer(command('associate')), 2);
    expect(receive(vsi, deassoc(0x40), 3)).toEqual([]);
    expect(told(receive(vsi, deassoc(0x40), 4))).toEqual(['ended bridge']);
  });

  test('the answer to a DeAssoc of the user is that', () => {
    const vsi = askedAnew();
    receive(vsi, answer(command('associate')), 2);
    vsi.command(command('deassociate'), 3);
    expect(told(receive(vsi, deassoc(0x40), 4))).toEqual(['ended asked']);
  });

  test('of other attributes: during a keepalive too it is somebody else`s', () => {
    const vsi = keepingAlive();
    expect(receive(vsi, answer(command('deassociate', { type: 7 }), 0x00), KEEPALIVE)).toEqual([]);
  });

  test('of other attributes, but with ack: it is ours', () => {
    const vsi = holding('associate');
    expect(told(receive(vsi, answer(command('deassociate', { type: 7 }), 0x40), 1))).toEqual([
      'ended bridge',
    ]);
  });
});

describe('reasons', () => {
  test('deassociated as asked', () => {
    const vsi = asking('deassociate', 'associate');
    expect(receive(vsi, answer(command('deassociate')), 1)).toMatchObject([{ reason: 'deassociated' }]);
  });

  test('DeAssoc without an error', () => {
    expect(receive(asking('associate'), answer(command('deassociate')), 1)).toMatchObject([
      { reason: 'the bridge deassociated the VSI instead of confirming it' },
    ]);
  });
});

test('an end without an answer has no status', () => {
  expect(asking('associate').advance(RESP)).toStrictEqual([
    { kind: 'ended', end: 'timeout', reason: 'no answer of the bridge within respWaitDelay' },
  ]);
});

test('the DeAssoc after a refused keepalive has no hint', () => {
  const hinted = command('associate', { hint: 'to' });
  const vsi = holding('associate', { hint: 'to' });
  vsi.advance(KEEPALIVE);
  expect(receive(vsi, answer(hinted, 0x62), KEEPALIVE)).toEqual([
    { kind: 'send', command: command('deassociate') },
  ]);
  expect(vsi.awaiting).toEqual(command('deassociate'));
});

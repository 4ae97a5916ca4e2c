export * from './bridge.ts';
export * from './codec.ts';
export * from './command.ts';
export * from './dialect.ts';
export * from './draft.ts';
export * from './filter.ts';
export * from './station.ts';
export * from './timers.ts';

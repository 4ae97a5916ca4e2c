export * from './codec.ts';
export * from './dialect.ts';
export * from './draft.ts';
export * from './receiver.ts';
export * from './transmitter.ts';

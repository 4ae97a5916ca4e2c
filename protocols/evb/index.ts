export * from './bridge.ts';
export * from './draft.ts';
export * from './hears.ts';
export * from './negotiation.ts';
export * from './station.ts';
export * from './told.ts';

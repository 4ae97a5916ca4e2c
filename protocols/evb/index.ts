export * from './bridge.ts';
export * from './negotiation.ts';
export * from './station.ts';

/** What one of each thing costs. CPU is user and system time. */
export interface Constants {
  /** Of all replicas, for the return of one link of an agent where there are two replicas, in ms. */
  linkCpuMs: number
  /** Of a replica, for a link at rest and an agent that it knows, in bytes. */
  linkResidentBytes: number
  /** For the return of one link of an agent. */
  linkRedisCommands: number
  linkRedisCpuMs: number
  /** Of a replica that hears of an agent: that it is gone, and that it has come, in ms. */
  presenceCpuMs: number
  /** Of a replica, for an agent that it knows from another, in bytes. */
  presenceResidentBytes: number
  /** One agent in a frame of its own between replicas, in bytes. */
  presenceFrameBytes: number
  /** For one replica at rest, a second. */
  restRedisCommands: number
  /** For a stream of a client that is there, opened and ended. */
  openRedisCommands: number
  /** The same, of all replicas, in ms. */
  openCpuMs: number
}

/**
 * Printed by `npm run scale -- --measure 1000` on 2026-11-27, on two cores that agents, replicas and Redis shared and that had
 * nothing else to do (load 0.7 before, 1.2 after).
 */
export const CONSTANTS: Constants = {
  linkCpuMs: 3.4,
  linkResidentBytes: 32_000,
  linkRedisCommands: 4.1,
  linkRedisCpuMs: 0.11,
  presenceCpuMs: 0.165,
  presenceResidentBytes: 4_100,
  presenceFrameBytes: 105,
  restRedisCommands: 6.3,
  openRedisCommands: 4,
  openCpuMs: 2.4,
}

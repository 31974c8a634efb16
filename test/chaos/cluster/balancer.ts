import { RoundRobin } from '../../../cli/demo/round-robin.ts'
import type { Scope } from '../../support/scope.ts'

/** What stands before the replicas. It knows where they listen, and nothing else of them. */
export interface Balancer {
  readonly url: string
  /** Where new connections go from now on; those that are there stay. */
  route(ports: readonly number[]): Promise<void>
  /** Drops every connection, as one does that is started again. */
  reload(): Promise<void>
}

/** @param host an address that network namespaces reach, where clients are in one */
export async function startRoundRobin(scope: Scope, host?: string): Promise<RoundRobin> {
  const balancer = await RoundRobin.listen(host)
  scope.after(() => balancer.close())
  return balancer
}

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type HomeReplica, Homes } from '../../../plugins/machines/homes.ts'
import type { Link } from '../../../protocol/link/link.ts'

const program = { instance: 'agent', epoch: 1 }

/** A replica at which the agent has a link. */
function home(
  id: string,
  load: number,
  more: Partial<HomeReplica> = {},
): { -readonly [K in keyof HomeReplica]: HomeReplica[K] } {
  return { id, load, draining: false, via: undefined, link: { id } as unknown as Link, ...more }
}

function homesOf(...replicas: HomeReplica[]): Homes {
  const homes = new Homes()
  for (const replica of replicas) homes.add({ program, replica })
  return homes
}

test('of two homes the less loaded is taken, whichever was heard of first, and the other one when that changes', () => {
  for (const [busy, idle] of [
    [home('a', 9), home('b', 2)],
    [home('b', 9), home('a', 2)],
  ] as const) {
    for (const homes of [homesOf(busy, idle), homesOf(idle, busy)]) {
      assert.equal(homes.best, idle)
      assert.equal(homes.link, idle.link)
    }
    const homes = homesOf(busy, idle)
    idle.load = 10
    assert.equal(homes.best, busy)
  }
})

test('a home that leaves, or to which there is no link, is taken only where there is no other, however little it carries', () => {
  const [leaving, beyond, busy] = [home('a', 0, { draining: true }), home('b', 0, { via: 'c' }), home('d', 9)]
  assert.equal(homesOf(leaving, beyond, busy).best, busy)
  assert.equal(homesOf(leaving, beyond).best, beyond)
  assert.equal(homesOf(leaving).best, leaving)
})

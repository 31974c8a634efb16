import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { requireSystem } from '../support/system.ts'
import { countsCallersApart, FRONTS, startFront } from './fronts.ts'
import { whyNoHosts } from './host.ts'
import { DAILY_SECTIONS, printedSections } from './readme.ts'
import { printedRecipes, RECIPE_NAMES } from './recipes.ts'
import { setScene } from './scene.ts'
import { walkSeveralHosts } from './several-hosts.ts'

const skip = requireSystem(...FRONTS) ?? (await whyNoHosts())

test('the first hour, from README.md alone, on clean accounts of hosts apart from each other', {
  skip,
}, async (t) => {
  const scene = await setScene(t, join(import.meta.dirname, '..', '..'))
  const { laptop } = scene.hosts
  await scene.startSshd('machine')
  const [first, ...others] = FRONTS
  let { front } = await walkSeveralHosts(scene, first)
  await countsCallersApart(scene)

  const session = laptop.start('alice', 'ssh home cat', { stdin: 'pipe' })
  session.write(`through ${first}\n`)
  await session.line(`through ${first}`, 'stdout')
  for (const [index, name] of others.entries()) {
    await t.test(`a session goes on when ${name} takes the place of ${FRONTS[index]}`, async () => {
      await front.stop()
      front = await startFront(scene, name)
      session.write(`through ${name}\n`)
      await session.line(`through ${name}`, 'stdout')
      await countsCallersApart(scene)
    })
  }
  session.end()
  assert.deepEqual(await session.exit, { code: 0, signal: null })
})

test('every section of README with commands for a host is one that npm run firsthour does', () => {
  assert.deepEqual(printedSections(), ['Three commands', 'On several hosts', ...DAILY_SECTIONS])
})

test('every recipe of docs/RECIPES.md is one that npm run firsthour runs', () => {
  assert.deepEqual(printedRecipes(), RECIPE_NAMES)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { remembered } from '../../protocol/remembered.ts'

test('an answer is found once for each text, also where there is none', () => {
  const asked: string[] = []
  const find = remembered((text) => {
    asked.push(text)
    return text === 'nothing' ? undefined : text.toUpperCase()
  })
  for (const text of ['one', 'nothing', 'one', 'nothing']) find(text)
  assert.deepEqual([find('one'), find('nothing'), asked], ['ONE', undefined, ['one', 'nothing']])
})

test('a thousand answers are kept at the most, and none for a long text', () => {
  let asked = 0
  const find = remembered((text) => {
    asked++
    return text.length
  })
  for (let number = 0; number < 1_001; number++) find(`text ${number}`)
  assert.equal(asked, 1_001)
  // The thousand before it have gone, and it is kept itself.
  find('text 1000')
  assert.equal(asked, 1_001)
  find('text 0')
  assert.equal(asked, 1_002)

  const long = 'x'.repeat(301)
  assert.deepEqual([find(long), find(long), asked], [301, 301, 1_004])
})

import { suite } from "uvu";
import { testModel } from "./model-level.js";

const test = suite("model-level tinystories-656k");

testModel(test, "tinystories-656k", 180_000);

test.run();

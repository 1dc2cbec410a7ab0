import { suite } from "uvu";
import { testModel } from "./model-level.js";

const test = suite("model-level stories260k");

testModel(test, "stories260k", 90_000);

test.run();
